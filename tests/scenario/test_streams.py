"""Many streams, slow readers, more than one cell."""

import json
import re
import selectors
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.gateway import target
from harness.http import Connection, build_request, chat_once, sse_events
from harness.process import FLAT_MEMORY, memory_bound
from harness.upstream import DONE, chunk_event, completion

GOOD = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**GOOD, "stream": True}
MiB = 1 << 20


def test_slow_reader_stops_the_provider(start_gateway, upstream):
    """A client that does not read: the provider is stopped through TCP, the gateway's memory stays bounded, and
    when the client reads at last it gets every byte in order."""
    sent = [0]
    total = 64 * MiB
    text = "x" * 20_000

    def flood(request, exchange):
        exchange.start_stream()
        while sent[0] < total:
            event = chunk_event(f"{sent[0]} {text}")
            exchange.chunk(event)
            sent[0] += len(event)
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(flood)
    gateway = start_gateway([target(upstream.url)], environment=FLAT_MEMORY)
    chat_once(gateway.port, GOOD | {"model": "unknown"})
    before = gateway.resident_bytes()
    with Connection(gateway.port, receive_buffer=32768) as connection:
        answer = connection.start_chat(STREAM)
        moved = -1
        while sent[0] != moved:  # until everything between the two ends is full
            moved = sent[0]
            time.sleep(0.5)
        assert sent[0] < total, "the provider was never stopped"
        assert gateway.resident_bytes() - before < memory_bound(8 * MiB)
        # Another client is served meanwhile.
        other = chat_once(gateway.port, {**GOOD, "model": "unknown"})
        assert other.status == 404
        body = b"".join(connection.pieces(answer))
    events = sse_events(body)
    assert events[-1] == b"[DONE]"
    expected = 0
    for event in events[:-1]:
        assert json.loads(event)["choices"][0]["delta"]["content"] == f"{expected} {text}"
        expected += len(event) + len(b"data: \n\n")
    assert expected == sent[0]
    assert gateway.resident_bytes() - before < memory_bound(16 * MiB)


def test_slow_reader_of_a_large_plain_answer(start_gateway, upstream):
    body = json.dumps(completion("y" * (48 * MiB))).encode()
    upstream.reset_to(lambda request, exchange: exchange.json(body))
    gateway = start_gateway([target(upstream.url)], environment=FLAT_MEMORY)
    chat_once(gateway.port, {**GOOD, "model": "unknown"})
    before = gateway.resident_bytes()
    with Connection(gateway.port, receive_buffer=32768) as connection:
        answer = connection.start_chat(GOOD)
        time.sleep(1)
        assert gateway.resident_bytes() - before < memory_bound(8 * MiB)
        assert b"".join(connection.pieces(answer)) == body


def read_streams(port, bodies, deadline_seconds=90):
    """Reads that many streams at once on one thread: the bytes of each."""
    selector = selectors.DefaultSelector()
    received = [bytearray() for _ in bodies]
    for index, body in enumerate(bodies):
        connection = Connection(port)
        connection.send(build_request("POST", "/v1/chat/completions", json.dumps(body).encode(), {"Connection": "close"}))
        connection.socket.setblocking(False)
        selector.register(connection.socket, selectors.EVENT_READ, index)
    deadline = time.monotonic() + deadline_seconds
    open_streams = len(bodies)
    while open_streams:
        assert time.monotonic() < deadline, f"{open_streams} streams still open"
        for key, _ in selector.select(1):
            data = key.fileobj.recv(65536)
            received[key.data] += data
            if not data:
                selector.unregister(key.fileobj)
                key.fileobj.close()
                open_streams -= 1
    return received


def unchunk(data):
    head, rest = bytes(data).split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200"), head
    body = []
    while True:
        size, rest = rest.split(b"\r\n", 1)
        length = int(size, 16)
        if length == 0:
            return b"".join(body)
        body.append(rest[:length])
        rest = rest[length + 2 :]


@pytest.mark.parametrize("cells", [1, 2])
def test_five_hundred_streams(start_gateway, mock, cells):
    """500 streams at once from the bundled mock: none lost, none mixed up, none out of order."""
    model = "mock-tokens-10-pace-20"
    gateway = start_gateway([target(mock.url, models=[model])], arguments=["--cells", cells])
    bodies = [{"model": model, "stream": True, "user": f"request-{number}",
               "messages": [{"role": "user", "content": "x"}]} for number in range(500)]
    nonces = set()
    for number, data in enumerate(read_streams(gateway.port, bodies)):
        nonces.add(the_call_of(sse_events(unchunk(data)), str(number), 10))
    assert len(nonces) == 500, "each answer comes from one upstream call of its own"


def the_call_of(events, number, tokens):
    """The one upstream call that a mock's stream came from: each token ends with ~NUMBER.NONCE.SEQ.TIME~."""
    assert events[-1] == b"[DONE]"
    text = "".join(choice["delta"].get("content") or "" for event in events[:-1]
                   for choice in json.loads(event)["choices"])
    tags = re.findall(r"~([\w-]+)\.([0-9a-f]{16})\.(\d+)\.\d+~", text)
    assert [(tag[0], int(tag[2])) for tag in tags] == [(number, place) for place in range(tokens)]
    nonces = {tag[1] for tag in tags}
    assert len(nonces) == 1, nonces
    return nonces.pop()


def test_two_cells_share_the_load(start_gateway, upstream):
    """64 connections over two cells: all served, one upstream call each."""
    gateway = start_gateway([target(upstream.url)], arguments=["--cells", 2])

    def ten_requests(_):
        with Connection(gateway.port) as connection:
            for _ in range(10):
                assert connection.chat(GOOD).status == 200

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(ten_requests, range(64)))
    assert len(upstream.received()) == 640


def test_streams_and_plain_requests_side_by_side(gateway, upstream):
    """A plain request is answered while 50 streams run; the streams end whole."""
    go_on = threading.Event()

    def held(request, exchange):
        if not request.json().get("stream"):
            exchange.json(completion())
            return
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        assert go_on.wait(30)
        exchange.chunk(chunk_event("b") + DONE)
        exchange.end_stream()

    upstream.reset_to(held)
    with ThreadPoolExecutor(50) as pool:
        streams = [pool.submit(chat_once, gateway.port, STREAM) for _ in range(50)]
        upstream.wait_received(50)
        for _ in range(20):
            assert chat_once(gateway.port, GOOD).status == 200
        go_on.set()
        for stream in streams:
            assert stream.result().body == chunk_event("a") + chunk_event("b") + DONE
