"""Edge, router and provider as processes of their own: what a client sees, whoever of them is lost."""

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from harness.fleet import MASTER_KEY, Fleet, until
from harness.http import Connection, build_request, request_once, sse_events
from harness.process import memory_bound
from harness.upstream import DONE, Upstream, answer_normally, chunk_event, completion, head

GOOD = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**GOOD, "stream": True}
AUTH = {"Authorization": f"Bearer {MASTER_KEY}"}
# Heartbeats find the lost one within 2 s; a connection that ends at once. The rest is for slow machines.
LOST_SECONDS = 3
PATIENCE_SECONDS = 20


@pytest.fixture
def upstream():
    upstream = Upstream()
    yield upstream
    upstream.close()
    assert not upstream.failures, upstream.failures


@pytest.fixture
def new_fleet(tmp_path, upstream):
    made = []

    def new(**options):
        made.append(Fleet(tmp_path, upstream.url, **options))
        return made[-1]

    yield new
    try:
        for fleet in made:
            fleet.stop()
    finally:
        for fleet in made:
            fleet.close()


@pytest.fixture
def fleet(new_fleet):
    return new_fleet()


def chat(edge, body=GOOD, headers=None):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request_once(edge.port, "POST", "/v1/chat/completions", body, {**AUTH, **(headers or {})})


def text_of(answer):
    return answer.json()["choices"][0]["message"]["content"]


class Held:
    """A handler that answers when it is told to."""

    def __init__(self):
        self.go = threading.Event()

    def __call__(self, request, exchange):
        assert self.go.wait(PATIENCE_SECONDS)
        answer_normally(request, exchange)


# ---- nobody is lost ----


def assert_serves(edge, upstream):
    answer = chat(edge)
    assert answer.status == 200 and text_of(answer) == "hello"
    assert answer.header("x-dynabus-target") == "upstream"
    assert answer.header("x-dynabus-attempts") == "1"
    assert answer.header("x-dynabus-redelivered") is None
    stream = chat(edge, STREAM)
    assert stream.header("content-type") == "text/event-stream"
    events = sse_events(stream.body)
    assert events[-1] == b"[DONE]"
    assert "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:2]) == "hello"
    assert chat(edge, headers={"Authorization": "Bearer wrong"}).status == 401
    assert chat(edge, {**GOOD, "model": "nobody's"}).status == 404
    models = request_once(edge.port, "GET", "/v1/models", headers=AUTH).json()
    assert [model["id"] for model in models["data"]] == ["test-model"]
    received = upstream.received()
    assert len(received) == 2
    assert received[0].header("authorization") != f"Bearer {MASTER_KEY}"
    assert json.loads(received[0].body)["messages"] == GOOD["messages"]


@pytest.mark.parametrize("wire, curve", [("tcp", False), ("ipc", False), ("tcp", True)])
def test_three_processes_are_one_gateway(new_fleet, upstream, wire, curve):
    assert_serves(new_fleet(wire=wire, curve=curve).start(), upstream)


def ask_at_once(edge, count):
    """Over connections of their own, so that all cells get some."""
    with ThreadPoolExecutor(16) as pool:
        bodies = [GOOD if number % 2 else STREAM for number in range(count)]
        answers = list(pool.map(lambda body: chat(edge, body), bodies))
    assert [answer.status for answer in answers] == [200] * count


def test_processes_of_several_cells(new_fleet, upstream):
    fleet = new_fleet(cells=2)
    edge = fleet.start()
    ask_at_once(edge, 60)
    handler = Held()
    upstream.reset_to(handler)
    fleet.router(1)
    until(lambda: len(edge.log_lines(event="owner.router.up")) >= 4, "each cell has found both")
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(chat, edge) for _ in range(16)]
        upstream.wait_received(16)
        fleet.first_router.kill()
        until(lambda: len(edge.log_lines(event="owner.router.gone")) == 2, "noticed by each cell", LOST_SECONDS)
        handler.go.set()
        assert [answer.result().status for answer in asked] == [200] * 16


def test_edge_and_router_in_one_process(new_fleet, upstream):
    """The edge's cells hand requests to their own routers, and the ports are shared by them."""
    fleet = new_fleet(cells=2)
    provider = fleet.provider()
    edge = fleet.edge("--bus", fleet.endpoints[0], roles="edge,router").wait_ready()
    ask_at_once(edge, 60)
    handler = Held()
    upstream.reset_to(handler)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(chat, edge) for _ in range(8)]
        upstream.wait_received(8)
        provider.kill()
        fleet.provider()
        handler.go.set()
        assert [answer.result().status for answer in asked] == [200] * 8


def test_large_bodies_arrive_whole(fleet, upstream):
    edge = fleet.start()
    asked = {**GOOD, "messages": [{"role": "user", "content": "abcdefgh" * 600_000}]}
    answered = completion("stuvwxyz" * 400_000)  # beyond what is held: it is streamed
    upstream.reset_to(lambda request, exchange: exchange.json(answered))
    answer = chat(edge, asked)
    assert answer.status == 200 and answer.json() == answered
    assert json.loads(upstream.received()[0].body)["messages"] == asked["messages"]


@contextmanager
def stream_in_flight(edge, upstream):
    """A stream that has begun, and ends when the block does: whole, or its connection was lost meanwhile."""
    go = threading.Event()

    def handler(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        assert go.wait(PATIENCE_SECONDS)
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(handler)
    with Connection(edge.port) as connection:
        pieces = connection.pieces(connection.start_chat(STREAM, AUTH))
        first = next(pieces)
        yield
        go.set()
        assert sse_events(first + b"".join(pieces))[-1] == b"[DONE]"


def test_a_list_of_many_models_arrives_whole(fleet, upstream):
    """More than one envelope can hold; what else goes over the same link is not touched."""
    models = [f"a-family-of-models/model-{number:05}" for number in range(16000)]
    written = json.loads(fleet.config.read_text())
    written["targets"][0]["models"] = [*models, "test-model"]
    fleet.config.write_text(json.dumps(written))
    edge = fleet.start()
    with stream_in_flight(edge, upstream):
        for _ in range(3):
            answer = request_once(edge.port, "GET", "/v1/models", headers=AUTH)
            assert answer.status == 200
            assert len(answer.body) > 1024 * 1024
            assert [model["id"] for model in answer.json()["data"]] == written["targets"][0]["models"]
        last = request_once(edge.port, "GET", f"/v1/models/{models[-1]}", headers=AUTH)
        assert last.json()["id"] == models[-1]


def test_a_long_question_is_explained(fleet, upstream):
    """What it says is not said back at any length."""
    edge = fleet.start()
    question = {"request": {**GOOD, "user": "u" * 1_500_000}}
    with stream_in_flight(edge, upstream):
        answer = request_once(edge.port, "POST", "/admin/explain", json.dumps(question).encode(),
                              {**AUTH, "content-type": "application/json"})
        assert answer.status == 200, answer
        assert answer.json()["facts"]["user"] == "u" * 1024


def test_a_cancel_reaches_the_upstream(fleet, upstream):
    edge = fleet.start()
    closed = threading.Event()

    def handler(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        if exchange.wait_for_close(PATIENCE_SECONDS):
            closed.set()

    upstream.reset_to(handler)
    connection = Connection(edge.port)
    next(connection.pieces(connection.start_chat(STREAM, AUTH)))
    connection.close()
    assert closed.wait(LOST_SECONDS)


def test_a_slow_client_slows_the_provider(fleet, upstream):
    """32 MiB for a client that does not read: nobody on the way collects them."""
    edge = fleet.start()
    event = chunk_event("x" * 16_000)
    count = 2000
    sent = []

    def handler(request, exchange):
        exchange.start_stream()
        for _ in range(count):
            exchange.chunk(event)
            sent.append(len(event))
        exchange.chunk(DONE)
        exchange.end_stream()

    before = {process: process.resident_bytes() for process in fleet.members}
    upstream.reset_to(handler)
    with Connection(edge.port, receive_buffer=4096) as connection:
        answer = connection.start_chat(STREAM, AUTH)
        stalled = 0
        while stalled < 10:  # until nothing moves any more
            so_far = len(sent)
            time.sleep(0.1)
            stalled = stalled + 1 if len(sent) == so_far else 0
        assert len(sent) < count
        for process, bytes_before in before.items():
            assert process.resident_bytes() - bytes_before < memory_bound(8 * 1024 * 1024), process.arguments
        body = b"".join(connection.pieces(answer))
    assert body == event * count + DONE


def test_without_a_router(fleet):
    edge = fleet.edge()
    edge.wait_until(lambda: request_safely(edge, "/livez") == 200, "alive")
    assert request_once(edge.port, "GET", "/readyz").status == 503
    answer = chat(edge)
    assert answer.status == 503
    assert answer.error["code"] == "gateway_unavailable"
    assert answer.header("retry-after") == "1"
    with ThreadPoolExecutor(1) as pool:  # a request waits for one that comes soon
        waiting = pool.submit(lambda: [chat(edge) for _ in range(8)][-1])
        fleet.router()
        fleet.provider()
        assert waiting.result().status == 200


def request_safely(edge, path):
    try:
        return request_once(edge.port, "GET", path).status
    except OSError:
        return None


# ---- a router is lost ----


def second_router(fleet, edge):
    """One that was not there when the others started; it is used when edge and provider are with it."""
    router = fleet.router(1)
    known = len(edge.log_lines(event="owner.router.up"))
    until(lambda: len(edge.log_lines(event="owner.router.up")) > max(known, 1), "the edge has found it")
    until(lambda: router.log_lines(event="ports.worker.ready"), "the provider has found it")
    return router


def ask_in_background(pool, edge, upstream, body=GOOD, headers=None):
    future = pool.submit(chat, edge, body, headers)
    upstream.wait_received(1)
    return future


@pytest.mark.parametrize("body", [GOOD, STREAM])
def test_a_router_is_killed_before_the_answer(fleet, upstream, body):
    edge = fleet.start()
    handler = Held()
    upstream.reset_to(handler)
    with ThreadPoolExecutor(1) as pool:
        asked = ask_in_background(pool, edge, upstream, body)
        second_router(fleet, edge)
        fleet.first_router.kill()
        until(lambda: edge.log_lines(event="owner.router.gone"), "noticed", LOST_SECONDS)
        # What leaves towards a router that is not known to be dead yet is lost, and asked for again.
        until(lambda: fleet.first_provider.log_lines(event="worker.router_gone"), "noticed there", LOST_SECONDS)
        handler.go.set()
        answer = asked.result()
    assert answer.status == 200
    assert b"hel" in answer.body
    assert answer.header("x-dynabus-redelivered") == "1"
    assert len(upstream.received()) == 1  # the provider went on with its call
    assert chat(edge).status == 200


def test_a_client_may_forbid_that(fleet, upstream):
    edge = fleet.start()
    handler = Held()
    upstream.reset_to(handler)
    with ThreadPoolExecutor(1) as pool:
        asked = ask_in_background(pool, edge, upstream, GOOD, {"X-Dynabus-Redeliver": "never"})
        second_router(fleet, edge)
        fleet.first_router.kill()
        answer = asked.result()
        handler.go.set()
    assert answer.status == 502
    assert answer.error["code"] == "router_lost"
    assert chat(edge, headers={"X-Dynabus-Redeliver": "often"}).status == 400


def test_a_router_is_killed_in_a_stream(fleet, upstream):
    edge = fleet.start()
    second_router(fleet, edge)
    went = threading.Event()

    def handler(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        if exchange.wait_for_close(PATIENCE_SECONDS):
            went.set()

    upstream.reset_to(handler)
    with Connection(edge.port) as connection:
        answer = connection.start_chat(STREAM, AUTH)
        pieces = connection.pieces(answer)
        first = next(pieces)
        for router in fleet.members:
            if "router" in router.arguments:
                router.kill()
        rest = b"".join(pieces)  # ends as a stream ends
        events = sse_events(first + rest)
        assert json.loads(events[0])["choices"][0]["delta"]["content"] == "a"
        assert json.loads(events[-1])["error"]["code"] == "router_lost"
        assert len(events) == 2
    assert went.wait(LOST_SECONDS)  # nobody takes it over


def test_a_router_is_killed_in_a_plain_answer(fleet, upstream):
    """Half of it is at the edge, which holds it: another attempt gives the whole one."""
    edge = fleet.start()
    answered = json.dumps(completion("stuvwxyz" * 60_000)).encode()
    go = threading.Event()

    def handler(request, exchange):
        exchange.send(head(200, [("content-type", "application/json"), ("content-length", len(answered))]))
        first = len(upstream.received()) == 1
        exchange.send(answered[: len(answered) // 2])
        if first:
            assert go.wait(PATIENCE_SECONDS)
        exchange.send(answered[len(answered) // 2 :])

    upstream.reset_to(handler)
    with ThreadPoolExecutor(1) as pool:
        asked = ask_in_background(pool, edge, upstream)
        second_router(fleet, edge)
        time.sleep(0.5)  # some of the half has passed
        fleet.first_router.kill()
        answer = asked.result()
        go.set()
    assert answer.status == 200
    assert answer.body == answered
    assert answer.header("x-dynabus-redelivered") == "1"


def test_a_router_that_is_stopped_is_found_by_its_silence(fleet, upstream):
    """Its connections stay open: only heartbeats tell."""
    edge = fleet.start()
    handler = Held()
    upstream.reset_to(handler)
    with ThreadPoolExecutor(1) as pool:
        asked = ask_in_background(pool, edge, upstream)
        second_router(fleet, edge)
        fleet.first_router.signal(signal.SIGSTOP)
        until(lambda: edge.log_lines(event="owner.router.gone"), "noticed", LOST_SECONDS)
        handler.go.set()
        answer = asked.result()
    fleet.first_router.signal(signal.SIGCONT)
    assert answer.status == 200
    assert answer.header("x-dynabus-redelivered") == "1"


@contextmanager
def under_load(edge, upstream):
    """Requests all the time, plain and streamed; each of them is answered well."""
    stop = threading.Event()
    wrong = []
    good = []

    def handler(request, exchange):
        time.sleep(0.05)
        answer_normally(request, exchange)

    def load(body):
        while not stop.is_set():
            answer = chat(edge, body)
            is_whole = answer.status == 200 and (body is GOOD or sse_events(answer.body)[-1] == b"[DONE]")
            (good if is_whole else wrong).append(answer)

    upstream.reset_to(handler)
    with ThreadPoolExecutor(8) as pool:
        loads = [pool.submit(load, body) for body in (GOOD, STREAM) * 4]
        try:
            yield
        finally:
            stop.set()
        for future in loads:
            future.result()
    assert not wrong, (wrong[:3], edge.log()[-3000:])
    assert len(good) > 50


def test_a_router_that_drains_is_not_noticed(fleet, upstream):
    """They are replaced one after the other."""
    edge = fleet.start()
    with under_load(edge, upstream):
        second = second_router(fleet, edge)
        fleet.first_router.stop()
        time.sleep(0.3)
        router = fleet.router(0)
        until(lambda: router.log_lines(event="ports.worker.ready"), "back")
        time.sleep(0.3)
        second.stop()
        time.sleep(0.3)


# ---- a provider is lost ----


def second_provider(fleet):
    """One that was not there when the request came."""
    fleet.provider()
    until(lambda: len(fleet.first_router.log_lines(event="ports.worker.ready")) > 1, "the router has found it")


@pytest.mark.parametrize("body", [GOOD, STREAM])
def test_a_provider_is_killed_before_the_answer(fleet, upstream, body):
    edge = fleet.start()
    handler = Held()
    upstream.reset_to(handler)
    with ThreadPoolExecutor(1) as pool:
        asked = ask_in_background(pool, edge, upstream, body)
        second_provider(fleet)
        fleet.first_provider.kill()
        upstream.wait_received(2, LOST_SECONDS)
        handler.go.set()
        answer = asked.result()
    assert answer.status == 200
    assert b"hel" in answer.body
    assert answer.header("x-dynabus-redelivered") == "1"
    assert answer.header("x-dynabus-attempts") == "1"


def test_a_provider_is_killed_in_a_stream(fleet, upstream):
    edge = fleet.start()
    second_provider(fleet)

    def handler(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        exchange.wait_for_close(PATIENCE_SECONDS)

    upstream.reset_to(handler)
    with Connection(edge.port) as connection:
        pieces = connection.pieces(connection.start_chat(STREAM, AUTH))
        first = next(pieces)
        for provider in fleet.members:
            if "provider" in provider.arguments:
                provider.kill()
        events = sse_events(first + b"".join(pieces))
    assert json.loads(events[-1])["error"]["code"] == "worker_lost"
    assert len(events) == 2


def test_a_provider_is_killed_in_a_plain_answer(fleet, upstream):
    edge = fleet.start()
    answered = json.dumps(completion("stuvwxyz" * 60_000)).encode()

    def handler(request, exchange):
        is_first = len(upstream.received()) == 1
        exchange.send(head(200, [("content-type", "application/json"), ("content-length", len(answered))]))
        exchange.send(answered[: len(answered) // 2])
        if is_first:
            exchange.wait_for_close(PATIENCE_SECONDS)
            return
        exchange.send(answered[len(answered) // 2 :])

    upstream.reset_to(handler)
    with ThreadPoolExecutor(1) as pool:
        asked = ask_in_background(pool, edge, upstream)
        second_provider(fleet)
        time.sleep(0.5)  # some of the half has passed
        fleet.first_provider.kill()
        answer = asked.result()
    assert answer.status == 200
    assert answer.body == answered
    assert answer.header("x-dynabus-redelivered") == "1"


def test_a_provider_that_drains_is_not_noticed(fleet, upstream):
    edge = fleet.start()
    with under_load(edge, upstream):
        second_provider(fleet)
        fleet.first_provider.stop()
        time.sleep(0.3)


# ---- an edge is lost ----


def test_the_calls_of_a_killed_edge_are_cancelled(fleet, upstream):
    edge = fleet.start()
    other = fleet.edge().wait_ready()
    closed = threading.Semaphore(0)
    handler_of_other = Held()

    def handler(request, exchange):
        if "other" in request.body.decode():
            handler_of_other(request, exchange)
            return
        if request.json().get("stream"):
            exchange.start_stream()
            exchange.chunk(chunk_event("a"))
        if exchange.wait_for_close(PATIENCE_SECONDS):
            closed.release()

    upstream.reset_to(handler)
    connections = [Connection(edge.port) for _ in range(4)]
    for number, connection in enumerate(connections):
        body = json.dumps(STREAM if number % 2 else GOOD).encode()
        connection.send(build_request("POST", "/v1/chat/completions", body, AUTH))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(chat, other, {**GOOD, "user": "other"})
        upstream.wait_received(5)
        edge.kill()
        deadline = time.monotonic() + LOST_SECONDS
        for _ in connections:
            assert closed.acquire(timeout=max(0.0, deadline - time.monotonic()))
        handler_of_other.go.set()
        assert asked.result().status == 200  # nobody else's is touched
    for connection in connections:
        connection.close()
