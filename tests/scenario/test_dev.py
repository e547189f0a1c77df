"""`dynabus serve --dev`: a gateway without a configuration and without keys, for one's own machine."""

import re
import shlex
import socket
import subprocess

import pytest

from harness.http import Connection, chat_once, request_once
from harness.process import HttpProcess, free_port


@pytest.fixture
def dev(tmp_path):
    started = []

    def start(*arguments, environment=None):
        port = free_port()
        process = HttpProcess(["serve", "--dev", "--listen", f"127.0.0.1:{port}", *arguments], port,
                              tmp_path / f"dev-{port}.log", "/readyz", environment=environment)
        started.append(process)
        return process.wait_ready()

    yield start
    try:
        for process in started:
            process.stop()
    finally:
        for process in started:
            process.kill()


def first_model(port):
    return request_once(port, "GET", "/v1/models").json()["data"][0]["id"]


def test_answers_without_any_setup(dev):
    gateway = dev()
    body = {"model": first_model(gateway.port), "messages": [{"role": "user", "content": "hello"}]}
    answer = chat_once(gateway.port, body)
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"]
    stream = chat_once(gateway.port, {**body, "stream": True})
    assert stream.body.endswith(b"data: [DONE]\n\n")


def test_the_printed_curl_works(dev):
    """The line is run as it was printed, plain and as a stream."""
    gateway = dev()
    gateway.wait_until(lambda: "curl" in gateway.log(), "a curl line printed")
    text = re.sub(r"\\\n\s*", " ", gateway.log())
    lines = [line[line.index("curl ") :] for line in text.splitlines() if "curl " in line]
    answer = subprocess.run(shlex.split(lines[0]), capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer
    assert '"chat.completion"' in answer.stdout, answer


def test_a_port_in_use_is_passed_over(tmp_path):
    """The next free one is taken and said."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = HttpProcess(["serve", "--dev"], port, tmp_path / "log", "/readyz", environment={"PORT": str(port)})
        try:
            process.wait_until(lambda: "address" in process.log(), "told")
            chosen = int(re.search(r"http://127\.0\.0\.1:(\d+)", process.log()).group(1))
            assert port < chosen <= port + 20
            assert "in use" in process.log() and str(port) in process.log()
            assert request_once(chosen, "GET", "/readyz").status == 200
            process.stop()
        finally:
            process.kill()


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Host": "evil.example:8080"},
                                     {"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_web_pages_are_refused(dev, headers):
    """A page in the user's browser must not spend the user's keys."""
    gateway = dev()
    body = {"model": first_model(gateway.port), "messages": [{"role": "user", "content": "x"}]}
    answer = chat_once(gateway.port, body, headers)
    assert (answer.status, answer.error["code"]) == (403, "forbidden_origin")
    allowed = chat_once(gateway.port, body)
    assert allowed.status == 200
    assert not [name for name, _ in allowed.headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "localhost", "[::1]:{port}"])
def test_own_names_are_accepted(dev, host):
    gateway = dev()
    assert request_once(gateway.port, "GET", "/v1/models", headers={"Host": host.format(port=gateway.port)}).status == 200


def test_preflight_is_refused(dev):
    gateway = dev()
    answer = request_once(gateway.port, "OPTIONS", "/v1/chat/completions",
                          headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"})
    assert answer.status in (403, 405)
    assert not [name for name, _ in answer.headers if name.startswith("access-control")]


def test_keys_in_the_environment_become_targets(dev, upstream):
    gateway = dev(environment={"OPENAI_API_KEY": "sk-from-environment-0123456789", "OPENAI_BASE_URL": upstream.url})
    answer = chat_once(gateway.port, {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]})
    assert answer.status == 200
    assert upstream.received()[0].header("authorization") == "Bearer sk-from-environment-0123456789"
    assert "sk-from-environment" not in gateway.log()


def test_listens_on_loopback_only(tmp_path):
    process = HttpProcess(["serve", "--dev", "--listen", "0.0.0.0:0"], 0, tmp_path / "log", "/readyz")
    try:
        assert process.wait_exit() == 1
        assert "loopback" in process.log()
    finally:
        process.kill()


def test_connection_stays_open(dev):
    gateway = dev()
    with Connection(gateway.port) as connection:
        for _ in range(3):
            assert connection.request("GET", "/v1/models").status == 200
