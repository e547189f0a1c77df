"""Starting, being configured wrongly, and ending: what an operator meets."""

import os
import re
import signal
import socket
import threading
import time

import pytest

from harness.gateway import UPSTREAM_KEY, run_to_end, target, write_config
from harness.http import Connection, chat_once, request_once
from harness.process import HttpProcess, free_port
from harness.upstream import DONE, chunk_event

GOOD = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**GOOD, "stream": True}
KEY = {"TEST_UPSTREAM_KEY": UPSTREAM_KEY}


# Ending.

def test_sigterm_lets_running_requests_finish(start_gateway, upstream):
    """SIGTERM: not ready any more, no new connections, the stream that runs ends whole, exit 0."""
    go_on = threading.Event()

    def held(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        assert go_on.wait(30)
        exchange.chunk(chunk_event("b") + DONE)
        exchange.end_stream()

    upstream.reset_to(held)
    gateway = start_gateway([target(upstream.url)])
    with Connection(gateway.port) as stream, Connection(gateway.port) as probe, Connection(gateway.port) as spare:
        pieces = stream.pieces(stream.start_chat(STREAM))
        assert next(pieces) == chunk_event("a")
        assert probe.request("GET", "/readyz").status == 200
        gateway.signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while (answer := probe.request("GET", "/readyz")).status == 200:  # the signal is on its way
            assert time.monotonic() < deadline, "still ready"
            if answer.header("connection") == "close":  # asked before the drain, answered in it
                probe = spare
        assert answer.status == 503
        assert answer.header("connection") == "close"
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                Connection(gateway.port).close()
                time.sleep(0.02)
            except ConnectionRefusedError:
                break
        else:
            raise AssertionError("still listening")
        go_on.set()
        assert b"".join(pieces) == chunk_event("b") + DONE
    assert gateway.wait_exit() == 0


def test_drain_time_is_bounded(start_gateway, upstream):
    """A stream that does not end is cut with an error event when the drain time is over."""
    def endless(request, exchange):
        exchange.start_stream()
        while True:
            exchange.chunk(chunk_event("a"))
            time.sleep(0.05)

    upstream.reset_to(endless)
    gateway = start_gateway([target(upstream.url)], config={"drain_timeout": "1s"})
    with Connection(gateway.port) as connection:
        pieces = connection.pieces(connection.start_chat(STREAM))
        next(pieces)
        gateway.signal(signal.SIGTERM)
        body = b"".join(pieces)
    assert b'"error"' in body and b"[DONE]" not in body
    assert gateway.wait_exit() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_gateway_ends_at_once(start_gateway, upstream, number):
    gateway = start_gateway([target(upstream.url)])
    with Connection(gateway.port) as idle:
        assert idle.request("GET", "/livez").status == 200
        started = time.monotonic()
        gateway.signal(number)
        assert gateway.wait_exit() == 0
        assert time.monotonic() - started < 10
        assert idle.at_end()


# Starting.

def serve(directory, config, *arguments, environment=None):
    return run_to_end(["serve", "--config", config, *arguments], directory, environment={**KEY, **(environment or {})})


def one_sentence(log, *words):
    """The reason is said once, in a line that has all these words."""
    lines = [line for line in log.splitlines() if all(word in line for word in words)]
    assert lines, log
    return lines


def test_port_in_use(tmp_path, upstream):
    """Also when the other one listens with SO_REUSEPORT."""
    config = write_config(tmp_path / "config.yaml", [target(upstream.url)])
    for reuse in (0, 1):
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse)
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            code, log = serve(tmp_path, config, "--listen", f"127.0.0.1:{port}")
            assert code == 1
            one_sentence(log, str(port), "in use")


def test_unreadable_config(tmp_path):
    for path in (tmp_path / "missing.yaml", tmp_path):
        code, log = serve(tmp_path, path)
        assert code == 1
        one_sentence(log, str(path))


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:99999", "127.0.0.1:", "300.1.1.1:8080", ":-1"])
def test_bad_listen_address(tmp_path, upstream, listen):
    config = write_config(tmp_path / "config.yaml", [target(upstream.url)])
    code, log = serve(tmp_path, config, "--listen", listen)
    assert code in (1, 2)
    assert listen in log


def test_missing_key_variable(tmp_path, upstream):
    config = write_config(tmp_path / "config.yaml", [target(upstream.url)])
    code, log = run_to_end(["serve", "--config", config], tmp_path)
    assert code == 1
    one_sentence(log, "TEST_UPSTREAM_KEY")


BAD_CONFIGS = {
    "not YAML": ("targets: ]\n", 1, ""),
    "unknown key": ("targets: []\nstrateggy: 1\n", 2, "strategy"),
    "wrong type": ("request_timeout: [1]\n", 1, "request_timeout"),
    "two documents": ("targets: []\n---\ntargets: []\n", 2, ""),
    "an alias bomb": ("a: &a [x]\nb: &b [*a, *a]\n", 1, ""),
    "a duplicate key": ("targets: []\ntargets: []\n", 2, "targets"),
}


@pytest.mark.parametrize("text, line, word", BAD_CONFIGS.values(), ids=BAD_CONFIGS.keys())
@pytest.mark.parametrize("command", ["serve", "validate"])
def test_bad_config(tmp_path, command, text, line, word):
    """Exit 1 with file, line and column."""
    config = tmp_path / "bad.yaml"
    config.write_text(text)
    arguments = ["serve", "--config", config] if command == "serve" else ["validate", config]
    code, log = run_to_end(arguments, tmp_path)
    assert code == 1
    assert re.search(rf"bad\.yaml:{line}:\d+", log), log
    assert word in log


def test_validate_reports_everything_at_once(tmp_path):
    config = tmp_path / "bad.yaml"
    config.write_text("strateggy: 1\nrequest_timeout: soon\ntargets:\n  - naame: x\n")
    code, log = run_to_end(["validate", config], tmp_path)
    assert code == 1
    for line in (1, 2, 4):
        assert f"bad.yaml:{line}:" in log, log


def test_validate_a_good_config(tmp_path, upstream):
    config = write_config(tmp_path / "good.yaml", [target(upstream.url)])
    code, _ = run_to_end(["validate", config], tmp_path, environment=KEY)
    assert code == 0


def test_keys_not_served_yet(tmp_path, upstream):
    """A known key of a later version is named with its line; --ignore-unsupported goes on without it."""
    config = write_config(tmp_path / "config.yaml", [target(upstream.url)], mcp_servers=[])
    code, log = serve(tmp_path, config, "--listen", f"127.0.0.1:{free_port()}")
    assert code == 1
    one_sentence(log, "mcp_servers", "not supported in this version")


def test_ignore_unsupported(start_gateway, upstream):
    gateway = start_gateway([target(upstream.url)], config={"mcp_servers": []}, arguments=["--ignore-unsupported"])
    assert chat_once(gateway.port, GOOD).status == 200
    assert "mcp_servers" in gateway.log()


@pytest.mark.parametrize("variable", ["DYNABUS_CONFIG", "GATEWAY_CONFIG"])
def test_config_from_the_environment(tmp_path, upstream, variable):
    config = write_config(tmp_path / "config.yaml", [target(upstream.url)])
    port = free_port()
    gateway = HttpProcess(["serve"], port, tmp_path / "log", "/readyz",
                          environment={**KEY, variable: str(config), "PORT": str(port), "MASTER_KEY": "m"})
    try:
        gateway.wait_ready()
        assert chat_once(port, GOOD, {"Authorization": "Bearer m"}).status == 200
        gateway.stop()
    finally:
        gateway.kill()


def test_ipv6(start_gateway, upstream):
    port = free_port()
    gateway = start_gateway([target(upstream.url)], arguments=["--listen", f"[::1]:{port}"], port=port, wait=False)

    def answers():
        try:
            with Connection(port, host="::1") as connection:
                return connection.request("GET", "/livez").status == 200
        except OSError:
            return False

    gateway.wait_until(answers, "answering on [::1]")


def test_start_lines(gateway):
    """One line each for address, targets, configuration, client authentication."""
    for word in (f"127.0.0.1:{gateway.port}", "upstream", str(gateway.config_path), "loopback"):
        # It answers before it has finished saying so.
        gateway.wait_until(lambda wanted=word: wanted in gateway.log(), f"a line with {word}")
    assert UPSTREAM_KEY not in gateway.log()


# The command line.

@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"], ["serve", "--help"], ["mock", "--help"],
                                       ["validate", "--help"]])
def test_help(tmp_path, arguments):
    code, log = run_to_end(arguments, tmp_path)
    assert code == 0
    assert "usage" in log.lower()


def test_version(tmp_path):
    code, log = run_to_end(["--version"], tmp_path)
    assert code == 0
    assert re.match(r"dynabus \d+\.\d+\.\d+", log)
    for library in ("zmq", "curl", "websockets"):
        assert library in log.lower()


@pytest.mark.parametrize("typed, meant", [("serv", "serve"), ("mokc", "mock"), ("validat", "validate")])
def test_did_you_mean(tmp_path, typed, meant):
    code, log = run_to_end([typed], tmp_path)
    assert code not in (0, None)
    assert re.search(rf"did you mean .*{meant}", log)


def test_unknown_option(tmp_path):
    code, log = run_to_end(["serve", "--lissten", "x"], tmp_path)
    assert code not in (0, None)
    assert "--lissten" in log


def test_no_signal_is_lost_during_start(tmp_path, upstream):
    """SIGTERM right after the start ends it cleanly, whenever it comes."""
    config = write_config(tmp_path / "config.yaml", [target(upstream.url)])
    for delay in (0.0, 0.005, 0.02, 0.05, 0.2):
        port = free_port()
        gateway = HttpProcess(["serve", "--config", config, "--listen", f"127.0.0.1:{port}"], port, tmp_path / "log",
                              "/readyz", environment=KEY)
        time.sleep(delay)
        gateway.signal(signal.SIGTERM)
        # Before the handler is there the signal's own action ends it.
        assert gateway.wait_exit() in (0, -signal.SIGTERM)
        gateway.assert_clean_log()


def test_no_child_and_no_file_left(start_gateway, upstream, tmp_path):
    before = set(os.listdir(tmp_path))
    gateway = start_gateway([target(upstream.url)])
    assert request_once(gateway.port, "GET", "/livez").status == 200
    gateway.stop()
    after = {name for name in os.listdir(tmp_path) if not name.startswith(("gateway-", "config-"))}
    assert after == before


# Handing over.

def test_a_handover_loses_no_connection(start_gateway, upstream):
    """Old and new process share the port: while the old one leaves, every new connection is answered."""
    port = free_port()
    share = ["--reuse-port", "--cells", "2"]
    gateway = start_gateway([target(upstream.url)], arguments=share, port=port)
    gateway.wait_until(lambda: "client auth" in gateway.log(), "its own lines: the successor has the same log file")
    over = threading.Event()
    failures = []
    answered = [0] * 6

    def ask(number):
        while not over.is_set():
            try:
                assert request_once(port, "GET", "/livez").status == 200
                answered[number] += 1
            except (OSError, AssertionError) as error:
                failures.append(repr(error))
                return

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(answered))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            successor = start_gateway([target(upstream.url)], wait=False, arguments=share, port=port)
            successor.wait_until(lambda: "client auth" in successor.log(), "the successor to listen")
            gateway.signal(signal.SIGTERM)
            assert gateway.wait_exit() == 0
            gateway = successor
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert all(count > 10 for count in answered)
