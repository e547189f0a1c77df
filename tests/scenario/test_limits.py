"""Slow and greedy clients, and a process that runs out of descriptors."""

import threading
import time

import pytest

from harness.gateway import target
from harness.http import Connection, build_request
from harness.upstream import chunk_event, DONE

GOOD = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**GOOD, "stream": True}
SHORT = {"head": "500ms", "body": "500ms", "idle": "700ms"}


@pytest.fixture
def impatient(start_gateway, upstream):
    return start_gateway([target(upstream.url)], config={"client_timeouts": SHORT})


def test_slow_head(impatient):
    with Connection(impatient.port) as connection:
        connection.send(b"GET /livez HTTP/1.1\r\nHost:")
        assert connection.read_answer().status == 408
        assert connection.at_end()


def test_head_that_drips(impatient):
    """Bytes keep coming, but the head does not end."""
    started = time.monotonic()
    with Connection(impatient.port) as connection:
        try:
            for byte in build_request("GET", "/livez", headers={"X-Long": "a" * 1000}):
                connection.send(bytes([byte]))
                time.sleep(0.05)
        except ConnectionError:
            pass
        assert time.monotonic() - started < 20
        try:
            assert connection.read_answer().status == 408
        except ConnectionError:
            pass


def test_slow_body(impatient, upstream):
    with Connection(impatient.port) as connection:
        connection.send(build_request("POST", "/v1/chat/completions", None,
                                      {"Content-Type": "application/json", "Content-Length": "1000"}) + b"{")
        answer = connection.read_answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert connection.at_end()
    assert upstream.received() == []


def test_idle_connection_is_closed(impatient):
    with Connection(impatient.port) as connection:
        assert connection.request("GET", "/livez").status == 200
        assert connection.at_end()


def test_connection_that_says_nothing_is_closed(impatient):
    with Connection(impatient.port) as connection:
        assert connection.at_end()


def test_a_waiting_request_is_not_idle(impatient, upstream):
    """The idle time runs between requests, not while the provider thinks."""
    def think(request, exchange):
        time.sleep(1.5)
        exchange.json({"object": "chat.completion", "choices": []})

    upstream.reset_to(think)
    with Connection(impatient.port) as connection:
        assert connection.chat(GOOD).status == 200


def test_connection_cap(start_gateway, upstream):
    """Beyond the cap new connections are refused, the old ones are served; places come back."""
    gateway = start_gateway([target(upstream.url)], config={"max_connections": 8}, arguments=["--cells", "1"])
    held = [Connection(gateway.port) for _ in range(8)]
    for connection in held:
        assert connection.request("GET", "/livez").status == 200
    with Connection(gateway.port) as refused:
        try:
            refused.send(build_request("GET", "/livez"))
            assert refused.read_answer().status == 503
        except (ConnectionError, ValueError):
            pass
    for connection in held:
        assert connection.request("GET", "/livez").status == 200
        connection.close()
    gateway.wait_until(gateway.is_ready, "free again")


def test_out_of_descriptors(start_gateway, upstream):
    """New connections wait or are refused; what runs goes on; afterwards all is as before."""
    go_on = threading.Event()

    def held(request, exchange):
        if not request.json().get("stream"):
            exchange.json({"object": "chat.completion", "choices": []})
            return
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        assert go_on.wait(30)
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(held)
    gateway = start_gateway([target(upstream.url)], max_files=80, arguments=["--cells", "1"])
    with Connection(gateway.port) as stream, Connection(gateway.port) as kept:
        pieces = stream.pieces(stream.start_chat(STREAM))
        assert next(pieces) == chunk_event("a")
        assert kept.chat(GOOD).status == 200
        greedy = []
        for _ in range(150):
            connection = Connection(gateway.port)
            connection.send(build_request("GET", "/livez"))
            greedy.append(connection)
        time.sleep(0.5)
        assert gateway.open_files() <= 80
        # Not a busy loop: a listener that cannot accept does not spin.
        busy = cpu_seconds(gateway.pid)
        time.sleep(1)
        assert cpu_seconds(gateway.pid) - busy < 0.5
        assert kept.request("GET", "/livez").status == 200
        go_on.set()
        assert b"".join(pieces) == DONE
        for connection in greedy:
            connection.close()
    gateway.wait_until(gateway.is_ready, "free again")
    with Connection(gateway.port) as connection:
        assert connection.chat(GOOD).status == 200


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
