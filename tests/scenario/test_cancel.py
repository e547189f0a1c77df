"""Clients that go away: the provider's side ends at once, nothing leaks, others are not disturbed."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from harness.gateway import target
from harness.http import Connection, build_request, chat_once, request_once
from harness.process import FLAT_MEMORY, memory_bound
from harness.upstream import DONE, chunk_event

GOOD = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**GOOD, "stream": True}
# A cancel travels in the loop turn that sees the client's close; the bound only tells "at once" from "never".
AT_ONCE_SECONDS = 5


class SeesClose:
    """A handler that starts (or not), then waits for the gateway to hang up."""

    def __init__(self, stream):
        self.stream = stream
        self.closed = threading.Event()

    def __call__(self, request, exchange):
        if self.stream:
            exchange.start_stream()
            exchange.chunk(chunk_event("a"))
        if exchange.wait_for_close(AT_ONCE_SECONDS):
            self.closed.set()


def test_client_leaves_a_stream(connect, upstream):
    handler = SeesClose(stream=True)
    upstream.reset_to(handler)
    for leave in ("close", "reset"):
        handler.closed.clear()
        connection = connect()
        next(connection.pieces(connection.start_chat(STREAM)))
        getattr(connection, leave)()
        assert handler.closed.wait(AT_ONCE_SECONDS), leave


def test_client_leaves_before_the_answer(gateway, upstream):
    for body in (b'{"model":"test-model","messages":[{"role":"user","content":"x"}]}',
                 b'{"model":"test-model","stream":true,"messages":[{"role":"user","content":"x"}]}'):
        handler = SeesClose(stream=False)
        upstream.reset_to(handler)
        connection = Connection(gateway.port)
        connection.send(build_request("POST", "/v1/chat/completions", body))
        upstream.wait_received(1)
        connection.close()
        assert handler.closed.wait(AT_ONCE_SECONDS)


def test_a_cancel_is_logged_as_such(gateway, connect, upstream):
    handler = SeesClose(stream=True)
    upstream.reset_to(handler)
    trace = "99992222333344445555666677778888"
    connection = connect()
    next(connection.pieces(connection.start_chat(STREAM, {"X-Request-ID": trace})))
    connection.close()
    gateway.wait_until(lambda: any(line.get("status") == 499 for line in gateway.log_lines(trace_id=trace)), "logged")


def test_client_leaves_inside_its_request(gateway, connect, upstream):
    """Half a body, then gone: no upstream call, no trace in the next request."""
    request = build_request("POST", "/v1/chat/completions", b'{"model":"test-model","messages":[]}')
    for position in range(1, len(request), 7):
        with Connection(gateway.port) as connection:
            connection.send(request[:position])
    assert connect().request("GET", "/livez").status == 200
    assert upstream.received() == []


def test_pipelined_request_of_a_client_that_left(start_gateway, upstream):
    """The second request never starts when the first one's client is gone. What waits unread hides the close, so it
    is the next byte to the client that finds out: the comment of a silent stream at the latest."""
    handler = SeesClose(stream=True)
    upstream.reset_to(handler)
    gateway = start_gateway([target(upstream.url)], config={"sse_keepalive": "200ms"})
    connection = Connection(gateway.port)
    body = b'{"model":"test-model","stream":true,"messages":[{"role":"user","content":"x"}]}'
    connection.send(build_request("POST", "/v1/chat/completions", body) * 2)
    upstream.wait_received(1)
    connection.reset()
    assert handler.closed.wait(AT_ONCE_SECONDS)
    assert len(upstream.received()) == 1


def settled(process, files, seconds=20):
    """The number of open descriptors comes back to `files` or below."""
    deadline = time.monotonic() + seconds
    while process.open_files() > files:
        assert time.monotonic() < deadline, f"{process.open_files()} descriptors open, {files} before"
        time.sleep(0.05)


def test_a_thousand_random_cancels(start_gateway, upstream):
    """1,000 streams left at random moments: each is noticed upstream, no descriptor stays, memory stays flat, and
    a stream that runs all the time loses nothing. The leak check of the sanitizer build counts the bytes."""
    random.seed(1000)
    count = 1000
    lock = threading.Lock()
    ended = {"cancelled": 0, "complete": 0}
    survivor = [chunk_event(str(number)) for number in range(400)]

    def stream_until_left(request, exchange):
        if request.json()["messages"][0]["content"] == "survivor":
            exchange.start_stream()
            for event in survivor:
                exchange.chunk(event)
                time.sleep(0.005)
            exchange.chunk(DONE)
            exchange.end_stream()
            return
        try:
            exchange.start_stream()
            for number in range(1000):
                exchange.chunk(chunk_event(str(number)))
                time.sleep(0.005)
            with lock:
                ended["complete"] += 1
        except OSError:
            with lock:
                ended["cancelled"] += 1

    upstream.reset_to(stream_until_left)
    gateway = start_gateway([target(upstream.url)], environment=FLAT_MEMORY)

    def leave(delay):
        with Connection(gateway.port) as connection:
            connection.send(build_request("POST", "/v1/chat/completions",
                                          b'{"model":"test-model","stream":true,"messages":[{"role":"user","content":"x"}]}'))
            time.sleep(delay)
            if random.random() < 0.3:
                connection.reset()

    with ThreadPoolExecutor(17) as pool:
        # Warm up first: what stays open afterwards (idle connections) is the base line.
        list(pool.map(leave, [0.02] * 32))
        time.sleep(0.5)
        settled(gateway, gateway.open_files())
        files, memory = gateway.open_files(), gateway.resident_bytes()
        body = {**STREAM, "messages": [{"role": "user", "content": "survivor"}]}
        kept = pool.submit(chat_once, gateway.port, body)
        list(pool.map(leave, [random.uniform(0, 0.04) for _ in range(count)]))
        assert kept.result().body == b"".join(survivor) + DONE
    settled(gateway, files + 4)
    arrived = len(upstream.received()) - 1
    deadline = time.monotonic() + 20
    while sum(ended.values()) < arrived and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ended == {"cancelled": arrived, "complete": 0}
    assert arrived > count / 2
    assert gateway.resident_bytes() - memory < memory_bound(32 << 20)
    assert request_once(gateway.port, "GET", "/livez").status == 200
