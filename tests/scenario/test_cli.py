"""The program on the command line: used wrongly, without standard descriptors, with nowhere to write."""

import os
import signal
import subprocess
import time

import pytest

from harness.http import Connection, chat_once
from harness.process import BINARY, HttpProcess, clean_environment, free_port

BODY = {"model": "mock", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
def dev(tmp_path):
    started = []

    def start():
        port = free_port()
        gateway = HttpProcess(["serve", "--dev", "--listen", f"127.0.0.1:{port}"], port, tmp_path / "log", "/readyz")
        started.append(gateway)
        return gateway.wait_ready()

    yield start
    for gateway in started:
        gateway.kill()
        gateway.assert_clean_log()


def command(*arguments, **options):
    return subprocess.run([BINARY, *arguments], env=clean_environment({}), stdin=subprocess.DEVNULL, timeout=60,
                          text=True, **options)


@pytest.mark.parametrize("arguments", [["validate"], ["validate", "a", "b"], ["reference"], ["reference", "nope"],
                                       ["version", "x"], ["mock", "x"], ["serve", "x"], ["serve", "--listen"],
                                       ["serve", "--cells", "0"], ["serve", "--cells", "65"], ["serv"], [""],
                                       ["help", "serv"], ["keys"], ["keys", "old"], ["keys", "new", "--role", "boss"],
                                       ["keys", "new", "a", "b"], ["keys", "show"]])
def test_wrong_usage_is_told_on_standard_error(arguments):
    ended = command(*arguments, capture_output=True)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "dynabus" in ended.stderr.splitlines()[0]


def test_help_may_stand_anywhere():
    ended = command("serve", "--dev", "--help", capture_output=True)
    assert ended.returncode == 0
    assert "usage: dynabus serve" in ended.stdout


@pytest.mark.parametrize("arguments", [["help"], ["version"], ["reference", "config"], ["init"],
                                       ["models", "list"], ["models", "show", "gpt-4o"]])
def test_what_could_not_be_written_is_an_error(arguments):
    with open("/dev/full", "w", encoding="ascii") as full:
        ended = command(*arguments, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    assert "cannot write" in ended.stderr


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_without_standard_descriptors_no_connection_takes_their_place(tmp_path, closed):
    """What is logged must not reach a client, a listener or the loop."""
    port = free_port()
    start = "exec " + " ".join(f"{fd}>&-" for fd in closed) + f'; exec "{BINARY}" serve --dev --listen 127.0.0.1:{port}'
    child = subprocess.Popen(["/bin/bash", "-c", start], env=clean_environment({}), stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                answer = chat_once(port, BODY)
                break
            except OSError:
                assert time.monotonic() < deadline and child.poll() is None
                time.sleep(0.02)
        assert answer.status == 200
        assert answer.json()["object"] == "chat.completion"
        for fd in closed:
            assert os.readlink(f"/proc/{child.pid}/fd/{fd}") == "/dev/null"
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.wait()


def test_serve_goes_on_when_nobody_reads_its_start(tmp_path):
    port = free_port()
    with open("/dev/full", "w", encoding="ascii") as full, open(tmp_path / "log", "w", encoding="utf-8") as log:
        child = subprocess.Popen([BINARY, "serve", "--dev", "--listen", f"127.0.0.1:{port}"],
                                 env=clean_environment({}), stdin=subprocess.DEVNULL, stdout=full, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                assert chat_once(port, BODY).status == 200
                break
            except OSError:
                assert time.monotonic() < deadline and child.poll() is None
                time.sleep(0.02)
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.wait()


def test_a_low_limit_of_descriptors_ends_in_a_sentence(tmp_path):
    """At every limit it either serves or says what to change; it never aborts."""
    for limit in (5, 6, 8, 12, 16, 20, 24, 28, 32, 40):
        port = free_port()
        gateway = HttpProcess(["serve", "--dev", "--cells", "2", "--listen", f"127.0.0.1:{port}"], port,
                              tmp_path / f"log-{limit}", "/livez", max_files=limit)
        deadline = time.monotonic() + 30
        while gateway.child.poll() is None and "address" not in gateway.log():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if gateway.child.poll() is None:
            gateway.stop()
        else:
            assert gateway.child.returncode == 1, (limit, gateway.child.returncode, gateway.log())
            assert "ulimit" in gateway.log(), (limit, gateway.log())


def stream_of(gateway, model):
    connection = Connection(gateway.port)
    pieces = connection.pieces(connection.start_chat({**BODY, "model": model, "stream": True}))
    next(pieces)
    return connection, pieces


def test_a_signal_that_arrives_twice_means_one(dev):
    """Delivered to the process group and forwarded by a wrapper: the stream still ends whole."""
    gateway = dev()
    connection, pieces = stream_of(gateway, "mock-tokens-20-pace-20")
    with connection:
        gateway.signal(signal.SIGINT)
        gateway.signal(signal.SIGTERM)
        assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
    assert gateway.wait_exit() == 0


def test_a_second_signal_ends_at_once(dev):
    gateway = dev()
    connection, _ = stream_of(gateway, "mock-tokens-10000-pace-50")
    with connection:
        gateway.signal()
        time.sleep(0.8)  # one that comes sooner is taken for the first again
        assert gateway.child.poll() is None
        gateway.signal()
        assert gateway.wait_exit() == 1


def test_a_hangup_does_not_end_it(dev):
    gateway = dev()
    gateway.signal(signal.SIGHUP)
    assert chat_once(gateway.port, BODY).status == 200


def test_keys_are_made_once_and_their_secret_is_never_shown(tmp_path):
    folder = tmp_path / "keys"
    made = command("keys", "new", "--role", "worker", "--name", "anna", "--out", folder, capture_output=True)
    assert made.returncode == 0, made.stderr
    public, secret = folder / "anna.key", folder / "anna.key_secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    key = secret.read_text().split('secret-key = "')[1].split('"')[0]
    assert len(key) == 40 and key not in public.read_text()
    for file in (public, secret):
        shown = command("keys", "show", file, capture_output=True)
        assert shown.returncode == 0
        assert [line.split() for line in shown.stdout.splitlines()][1:] == [["role", "worker"], ["name", "anna"]]
        assert shown.stdout.split()[1] in public.read_text() and key not in shown.stdout + shown.stderr
    before = public.read_text(), secret.read_text()
    again = command("keys", "new", "--name", "anna", "--out", folder, capture_output=True)
    assert again.returncode == 1 and "exists and is left as it is" in again.stderr and again.stdout == ""
    assert (public.read_text(), secret.read_text()) == before


def test_keys_have_the_name_of_their_file(tmp_path):
    assert command("keys", "new", "--role", "edge", tmp_path / "berlin", capture_output=True).returncode == 0
    shown = command("keys", "show", tmp_path / "berlin", capture_output=True)
    assert shown.stdout.split()[2:] == ["role", "edge", "name", "berlin"]
    nothing = command("keys", "show", tmp_path / "paris", capture_output=True)
    assert nothing.returncode == 1 and "paris: No such file" in nothing.stderr
