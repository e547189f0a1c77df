"""What operators' tools ask: `dynabus status`, and what the service manager is told (sd_notify)."""

import socket
import subprocess

import pytest

from harness.gateway import Gateway, target
from harness.http import build_request
from harness.process import BINARY, clean_environment, free_port

BODY = b'{"model":"test-model","messages":[{"role":"user","content":"x"}]}'


def status(*arguments):
    ended = subprocess.run([BINARY, "status", *arguments], env=clean_environment({}), stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr


def test_a_gateway_that_is_ready(gateway):
    assert status("--ready", "--url", gateway.url) == (0, "ready\n", "")
    code, out, _ = status("--url", gateway.url + "/")
    assert code == 0
    assert '"status":"ok"' in out and "upstream" in out


def test_nobody_there():
    code, out, err = status("--ready", "--url", f"http://127.0.0.1:{free_port()}")
    assert (code, out) == (1, "")
    assert "nobody answers" in err


@pytest.mark.parametrize("url", ["", "http://", "http://:80", "http://a:", "http://a:x", "http://a:80/b", "http://[::1"])
def test_an_address_that_makes_no_sense(url):
    code, out, err = status("--url", url)
    assert (code, out) == (2, "")
    assert "--url takes" in err


@pytest.mark.parametrize("answer", [b"", b"hello", b"HTTP/1.1 200 OK\r\ncontent-len", b"HTTP/1.1 503 No\r\n\r\n{}"])
def test_answers_that_are_not_ready(answer):
    with socket.create_server(("127.0.0.1", 0)) as server:
        asking = subprocess.Popen([BINARY, "status", "--ready", "--url", f"http://127.0.0.1:{server.getsockname()[1]}"],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        peer, _ = server.accept()
        assert peer.recv(4096).startswith(b"GET /readyz HTTP/1.0\r\n")
        peer.sendall(answer)
        peer.close()
        out, _ = asking.communicate(timeout=60)
    assert asking.returncode == 1
    assert out in ("", "not ready\n")


def test_a_draining_gateway_is_not_ready(start_gateway, upstream):
    """While it drains its listener is closed; a connection that was open is told so."""
    gateway = start_gateway([target(upstream.url)])
    with socket.create_connection(("127.0.0.1", gateway.port)) as kept:
        kept.sendall(build_request("POST", "/v1/chat/completions", BODY))
        assert kept.recv(4096)
        gateway.stop()
    assert status("--ready", "--url", gateway.url)[0] == 1


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(tmp_path, upstream, abstract):
    name = f"@dynabus-test-{free_port()}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1))
        manager.settimeout(30)
        gateway = Gateway(tmp_path, [target(upstream.url)], environment={"NOTIFY_SOCKET": name})
        try:
            assert manager.recv(4096) == b"READY=1"
            assert gateway.is_ready()
            gateway.stop()
            assert manager.recv(4096) == b"STOPPING=1"
        finally:
            gateway.kill()


@pytest.mark.parametrize("name", ["", "relative", "/", "/nobody/is/there", "/" + "x" * 200])
def test_without_a_service_manager_nothing_happens(tmp_path, upstream, name):
    gateway = Gateway(tmp_path, [target(upstream.url)], environment={"NOTIFY_SOCKET": name})
    try:
        gateway.wait_ready()
        gateway.stop()
    finally:
        gateway.kill()
