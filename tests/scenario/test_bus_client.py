"""A stranger's client on the bus of a real gateway: what proto/03-CLIENT.md and 01-ENVELOPE.md say happens, and what is
answered to who breaks their rules. The peers are written from the text (harness/bus.py); nothing is the gateway's own."""

import json
import threading
import time

import msgpack
import pytest
import zmq

from harness.bus import WAIT_MS, Client, free_base, header, new_id
from harness.gateway import Gateway, target
from harness.process import free_port
from harness.upstream import DONE, answer_normally, chunk_event, completion

SECONDS = 20  # against hanging
MASTER = "sk-bus-master"
BODY = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
PLAIN, STREAM = json.dumps(BODY).encode(), json.dumps({**BODY, "stream": True}).encode()


@pytest.fixture(scope="module")
def bus_gateway(tmp_path_factory, module_upstream):
    base = f"tcp://127.0.0.1:{free_base()}"
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), [target(module_upstream.url)], arguments=["--bus", base],
                      environment={"MASTER_KEY": MASTER}, config={"bus": {"listen": base}}, port=free_port())
    gateway.bus = base
    try:
        yield gateway.wait_ready()
        gateway.stop()
    finally:
        gateway.kill()


@pytest.fixture
def connect(bus_gateway, upstream):
    """connect() makes a client; all are closed, and the gateway must have survived them."""
    clients = []

    def open_one():
        clients.append(Client(bus_gateway.bus))
        return clients[-1]

    yield open_one
    for client in clients:
        client.close()
    assert bus_gateway.child.poll() is None, bus_gateway.log()


@pytest.fixture
def client(connect):
    return connect()


def ask(client, body=PLAIN, **members):
    return client.request(body, **{"cred": MASTER.encode(), **members})


def end_of(client, request):
    return client.until_end(request)[-1]


def assert_alive(connect):
    other = connect()
    head, _ = end_of(other, ask(other))
    assert head["outcome"] == "ok"


# ---- answers ----


def test_plain_answer(client, upstream):
    request = ask(client)
    [(head, body)] = client.until_end(request)
    assert head["outcome"] == "ok" and head["status"] == 200 and head["type"] == b"application/json"
    assert json.loads(body)["choices"][0]["message"]["content"] == "hello"
    assert head["target"] == "upstream" and head["provider"] == "openai" and head["attempts"] == 1 and head["calls"] == 1
    assert head["bytes"] == len(body)
    assert head["v"] == [1, 1] and "attempt" not in head and "redelivered" not in head
    sent = upstream.received()[-1]
    assert json.loads(sent.body) == BODY and MASTER not in str(sent.headers)


def test_stream(client):
    chunks = client.until_end(ask(client, STREAM, stream=True))
    heads = [head for head, _ in chunks if head["kind"] == "chunk"]
    assert heads[0]["stream"] is True and heads[0]["status"] == 200 and heads[0]["type"].startswith(b"text/event-stream")
    assert [head.get("seq", 0) for head in heads] == list(range(len(heads)))
    events = b"".join(body for head, body in chunks)
    assert events.endswith(b"data: [DONE]\n\n") and chunks[-1][0]["outcome"] == "ok"


def test_requests_overlap_on_one_connection(client):
    requests = [ask(client, STREAM if number % 2 else PLAIN) for number in range(20)]
    ends = {}
    while len(ends) < len(requests):
        head, _ = client.receive()
        if head["kind"] == "end":
            assert head["id"] not in ends
            ends[head["id"]] = head["outcome"]
    assert ends == dict.fromkeys(requests, "ok")


def test_a_peer_of_1_0_is_answered_in_1_0(client):
    request = new_id()
    members = {"id": request, "surface": "chat", "dialect": "openai_chat", "cred": MASTER.encode(), "credit": 65536}
    client.socket.send_multipart([msgpack.packb({"v": [1, 0], "kind": "request", **members}), PLAIN])
    head, _ = end_of(client, request)
    assert head["v"] == [1, 0] and head["outcome"] == "ok"


def test_other_surfaces(client):
    models = client.until_end(ask(client, b"", surface="models"))[-1]
    assert [model["id"] for model in json.loads(models[1])["data"]] == ["test-model"]
    head, body = end_of(client, client.request(surface="ready"))
    assert head["status"] == 200 and json.loads(body)["status"] == "ready"
    head, _ = end_of(client, ask(client, b"", surface="model", model="nobody's"))
    assert head["outcome"] == "error" and head["error"] == "MODEL_NOT_FOUND"


def test_track_tells_the_dispatch(client):
    request = ask(client, track=True)
    kinds = [head["kind"] for head, _ in client.until_end(request)]
    assert kinds[0] == "dispatched" and kinds[-1] == "end"


@pytest.mark.parametrize("members, error", [
    ({"cred": b"wrong"}, "INVALID_API_KEY"), ({"cred": b""}, "MISSING_API_KEY"),
    ({"dialect": "latin"}, "INVALID_REQUEST"), ({"model": "another"}, "INVALID_REQUEST"),
])
def test_errors_are_those_of_http(client, members, error):
    head, body = end_of(client, ask(client, **members))
    assert (head["outcome"], head["error"], body) == ("error", error, b"")
    assert head["status"] in (400, 401)


def test_a_body_that_is_no_request(client):
    head, _ = end_of(client, ask(client, b"not json"))
    assert head["error"] == "INVALID_REQUEST"


def test_what_a_client_may_not_say_is_taken_out(client, upstream):
    """It cannot name a target, a worker, an attempt, or have the gateway refuse in its own words."""
    request = ask(client, attempt=7, target="x", up_model="y", worker="w", w_attempt=3, tries=9, peer="1.2.3.4",
                  refuse="INTERNAL", refusal="a lie")
    head, _ = end_of(client, request)
    assert head["outcome"] == "ok" and head["attempts"] == 1
    assert json.loads(upstream.received()[-1].body)["model"] == "test-model"


# ---- credit, cancel ----


def test_nothing_beyond_the_credit(client, upstream):
    """A stream of 1 MiB: without CREDIT it stops at the window, with it all of it comes."""
    event = chunk_event("y" * 4000)

    def handler(request, exchange):
        exchange.start_stream()
        for _ in range(256):
            exchange.chunk(event)
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(handler)
    request = ask(client, STREAM, credit=20_000)
    came, granted = 0, 20_000
    client.socket.setsockopt(zmq.RCVTIMEO, 500)
    with pytest.raises(zmq.Again):
        while True:
            head, body = client.receive()
            came += len(body)
    assert 0 < came <= granted
    client.socket.setsockopt(zmq.RCVTIMEO, WAIT_MS)
    head = {}
    client.send("credit", id=request, credit=100_000)
    granted += 100_000
    while head.get("kind") != "end":
        head, body = client.receive()
        came += len(body)
        assert came <= granted
        if granted - came < 50_000:
            client.send("credit", id=request, credit=100_000)
            granted += 100_000
    assert head["outcome"] == "ok" and came == 256 * len(event) + len(DONE)


def test_cancel(client, upstream):
    closed = threading.Event()

    def handler(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        if exchange.wait_for_close(SECONDS):
            closed.set()

    upstream.reset_to(handler)
    request = ask(client, STREAM)
    client.until("chunk")
    client.send("cancel", id=request, reason="user")
    head, _ = end_of(client, request)
    assert head["outcome"] == "cancelled" and head["calls"] == 1
    assert closed.wait(SECONDS)


def test_cancel_and_credit_of_nothing_are_dropped(client):
    client.send("cancel", id=new_id())
    client.send("credit", id=new_id(), credit=5)
    head, _ = end_of(client, ask(client))
    assert head["outcome"] == "ok"


def test_a_lost_client_is_cancelled(connect, upstream):
    closed = threading.Event()

    def handler(request, exchange):
        if exchange.wait_for_close(SECONDS):
            closed.set()

    upstream.reset_to(handler)
    client = connect()
    ask(client)
    upstream.wait_received(1)
    client.close()
    assert closed.wait(3)


# ---- ids ----


class Held:
    def __init__(self):
        self.go = threading.Event()

    def __call__(self, request, exchange):
        assert self.go.wait(SECONDS)
        answer_normally(request, exchange)


def test_the_same_id_is_another_request_over_another_connection(connect, upstream):
    """Without keys an id belongs to its connection."""
    handler = Held()
    upstream.reset_to(handler)
    first, second, request = connect(), connect(), new_id()
    ask(first, id=request)
    ask(second, id=request)
    upstream.wait_received(2)
    handler.go.set()
    assert end_of(first, request)[0]["outcome"] == "ok" and end_of(second, request)[0]["outcome"] == "ok"


def test_a_repeat_over_the_same_connection_is_refused(client, upstream):
    handler = Held()
    upstream.reset_to(handler)
    request = ask(client)
    upstream.wait_received(1)
    ask(client, id=request)
    head, _ = end_of(client, request)
    assert (head["error"], head["status"]) == ("DUPLICATE_ID", 409)
    handler.go.set()
    head, body = end_of(client, request)  # the first goes on
    assert head["outcome"] == "ok" and json.loads(body) == completion("hello")
    assert len(upstream.received()) == 1


# ---- READY, heartbeats ----


def test_ready_is_answered_with_the_budget(client):
    client.send("ready", role="client", node="0123456789abcdef" * 2)
    head, body = client.receive()
    assert head["kind"] == "ready" and head["role"] == "router" and body == b""
    assert len(head["node"]) == 32 and head["requests"] > 0 and head["req_bytes"] > 0
    head, _ = client.receive()
    assert head["kind"] == "heartbeat"


def test_who_said_ready_and_is_silent_is_lost(client):
    client.send("ready", role="client")
    before = time.monotonic()
    assert client.until("goodbye")[0]["reason"] == "silent"
    assert 1 < time.monotonic() - before < SECONDS


def test_who_said_nothing_may_be_silent(client):
    head, _ = end_of(client, ask(client))
    time.sleep(3)
    head, _ = end_of(client, ask(client))
    assert head["outcome"] == "ok"


# ---- rules that are broken ----


def assert_told_to_go(client, connect, reason):
    assert client.until("goodbye")[0]["reason"] == reason
    assert_alive(connect)


@pytest.mark.parametrize("frames", [
    [b""], [b"", header("heartbeat")], [b"nonsense"], [b"\x80"], [header("heartbeat"), b"a body"],
    [header("heartbeat"), b"", b""], [header("request", id=new_id(), surface="chat"), b"{}", b"more"],
    [header("request", surface="chat"), b"{}"], [header("request", id=bytes(16), surface="chat"), b"{}"],
    [header("credit", id=new_id())], [header("greeting")], [b"\xdf\xff\xff\xff\xff"], [b"\x91" * 100],
    [header("request", id=new_id(), surface="telepathy")], [header("cancel", id=new_id(), reason="r" * 257)],
    [header("heartbeat", **{f"x{n}": n for n in range(17)})],
], ids=range(16))
def test_broken_envelopes(client, connect, frames):
    client.socket.send_multipart(frames)
    assert_told_to_go(client, connect, "protocol")


def test_another_major_version(client, connect):
    client.socket.send(msgpack.packb({"v": [2, 0], "kind": "request"}))
    assert_told_to_go(client, connect, "version")


def test_a_later_minor_version_is_understood(client):
    client.socket.send(msgpack.packb({"v": [1, 9], "kind": "greeting"}))
    request = new_id()
    members = {"id": request, "surface": "telepathy", "cred": MASTER.encode(), "future": [1]}
    client.socket.send(msgpack.packb({"v": [1, 9], "kind": "request", **members}))
    head, _ = end_of(client, request)
    assert (head["error"], head["v"]) == ("NOT_FOUND", [1, 3])


@pytest.mark.parametrize("kind, members", [
    ("chunk", {"id": new_id()}), ("end", {"id": new_id(), "outcome": "ok"}), ("dispatched", {"id": new_id()}),
    ("ask", {"id": new_id()}), ("vote", {"id": new_id()}), ("config", {}), ("ack", {}),
])
def test_kinds_that_clients_do_not_send(client, connect, kind, members):
    client.send(kind, **members)
    assert_told_to_go(client, connect, "role")


@pytest.mark.parametrize("role", ["worker", "router", "plugin", "juggler"])
def test_roles_that_are_not_for_this_socket(client, connect, role):
    client.send("ready", role=role)
    assert_told_to_go(client, connect, "role")


def test_clients_publish_nothing(client, connect):
    client.send("event", msgpack.packb({"status": 1}), topic="gateway.request.completed")
    assert_told_to_go(client, connect, "role")


def test_too_much_credit(client, connect, upstream):
    handler = Held()
    upstream.reset_to(handler)
    request = ask(client)
    client.send("credit", id=request, credit=2**20)
    assert client.until("goodbye")[0]["reason"] == "limit"
    handler.go.set()
    assert_alive(connect)


def test_beyond_the_budget(client, connect, upstream):
    """1,000 requests in flight for who was told nothing; the next are refused, and after as many again it has to go."""
    handler = Held()
    upstream.reset_to(handler)
    models = 0
    for _ in range(1000):
        ask(client)
    refused = 0
    for _ in range(1001):
        ask(client)
    while True:
        head, _ = client.receive()
        if head["kind"] == "goodbye":
            break
        if head.get("error") == "SATURATED":
            assert head["retry_s"] == 1 and head["status"] == 429
            refused += 1
        models += head["kind"] == "end" and head["outcome"] == "ok"
    assert head["reason"] == "limit" and refused >= 1000 and models == 0
    handler.go.set()
    assert_alive(connect)


def test_a_header_that_is_too_long(client, connect):
    client.socket.send(msgpack.packb({"v": [1, 1], "kind": "heartbeat", "x": "y" * 131072}))
    assert_told_to_go(client, connect, "protocol")
