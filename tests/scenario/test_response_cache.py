"""response-cache on the real binary with two cells: answers that come again, in both forms, and equal requests that
share one call, whoever of them leaves or fails."""

import json
import threading
import time

import pytest

from harness.bus import free_base
from harness.gateway import target
from harness.http import Connection, build_request, chat_once, request_once, sse_events
from harness.plugin import ScriptedPlugin
from harness.upstream import DONE, chunk_event, completion, usage_event

PLAIN = {"model": "test-model", "messages": [{"role": "user", "content": "Hello"}]}
STREAM = PLAIN | {"stream": True}
CROWD = 1000
SECONDS = 30  # against hanging


def cache(**config):
    return [{"name": "response-cache", "type": "transform", "stage": stage, "enabled": True, "config": config}
            for stage in ("before_request", "after_request")]


@pytest.fixture
def start(start_gateway, upstream):
    def start_it(environment=None, more=None, **config):
        return start_gateway([target(upstream.url)], arguments=["--cells", "2"], environment=environment,
                             config={"plugins": cache(**config), **(more or {})})

    return start_it


def asks(text, **more):
    return PLAIN | {"messages": [{"role": "user", "content": text}], **more}


def said(answer):
    """What the client reads, of either form."""
    assert answer.status == 200, answer.body
    if answer.header("content-type").startswith("application/json"):
        return answer.json()["choices"][0]["message"]["content"]
    events = sse_events(answer.body)
    assert events[-1] == b"[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert any(choice.get("finish_reason") for chunk in chunks for choice in chunk["choices"])
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def metric(gateway, name):
    for line in request_once(gateway.port, "GET", "/metrics").body.decode().splitlines():
        if line.startswith(name + " ") or line.startswith(name + "{"):
            if line.startswith(name):
                return float(line.rsplit(" ", 1)[1])
    raise AssertionError(name)


def results(gateway):
    return {result: metric(gateway, 'gateway_cache_requests_total{result="%s"}' % result)
            for result in ("hit", "shared", "miss")}


def wait_for(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_answer_comes_again(start, upstream):
    gateway = start()
    first = chat_once(gateway.port, PLAIN)
    # Other order, other spelling of the same string, another form of blanks.
    spelled = b'{"messages": [{"content": "H\\u0065llo", "role":"user"}],\n "model":"test-model"}'
    again = chat_once(gateway.port, spelled)
    assert (first.header("x-dynabus-cache"), again.header("x-dynabus-cache")) == ("miss", "hit")
    assert again.header("x-dynabus-provider") == "cache"
    assert float(again.header("x-dynabus-cost-usd")) == 0
    assert again.header("x-dynabus-attempts") is None
    assert again.body == first.body
    assert len(upstream.received()) == 1
    assert results(gateway) == {"hit": 1, "shared": 0, "miss": 1}
    other = chat_once(gateway.port, PLAIN | {"temperature": 0})
    assert other.header("x-dynabus-cache") == "miss"
    assert len(upstream.received()) == 2


def test_who_was_shown_an_answer_is_not_told_of_its_stream(start_gateway, upstream, tmp_path):
    """A kept answer is voted on as a whole before it is streamed."""
    logger = {"name": "request-logger", "type": "logging", "enabled": True, "config": {"persist": True, "bodies": True}}
    store = {"backend": "sqlite", "dsn": str(tmp_path / "store.db")}
    gateway = start_gateway([target(upstream.url)], config={"plugins": [*cache(), logger], "store": store})
    for form in (PLAIN, STREAM, PLAIN):
        assert said(chat_once(gateway.port, form)) == "hello"
    wait_for(lambda: len(gateway.log_lines(event="access")) == 3)
    traces = [line["trace_id"] for line in gateway.log_lines(event="request", stage="after_request")]
    assert len(set(traces)) == len(traces) == 3


def test_streams_and_plain_answers_serve_each_other(start, upstream):
    gateway = start()
    plain = chat_once(gateway.port, asks("plain first"))
    stream = chat_once(gateway.port, asks("plain first", stream=True))
    assert stream.header("content-type") == "text/event-stream"
    assert stream.header("x-dynabus-cache") == "hit"
    assert said(plain) == said(stream) == "hello"
    assert b'"usage"' not in stream.body
    usage = chat_once(gateway.port, asks("plain first", stream=True, stream_options={"include_usage": True}))
    assert usage.header("x-dynabus-cache") == "hit"
    assert json.loads(sse_events(usage.body)[-2])["usage"]["total_tokens"] == 5
    assert len(upstream.received()) == 1

    stream = chat_once(gateway.port, asks("stream first", stream=True))
    assert stream.header("x-dynabus-cache") == "miss"
    plain = chat_once(gateway.port, asks("stream first"))
    assert plain.header("x-dynabus-cache") == "hit"
    assert said(plain) == said(stream) == "hello"
    assert plain.json()["object"] == "chat.completion"
    assert plain.json()["usage"]["total_tokens"] == 5
    assert len(upstream.received()) == 2


def test_a_client_may_say_no(start, upstream):
    gateway = start()
    assert chat_once(gateway.port, PLAIN, {"Cache-Control": "no-store"}).header("x-dynabus-cache") == "miss"
    assert chat_once(gateway.port, PLAIN).header("x-dynabus-cache") == "miss"  # nothing was kept
    assert chat_once(gateway.port, PLAIN, {"Cache-Control": "max-age=0, no-cache"}).header("x-dynabus-cache") == "miss"
    assert len(upstream.received()) == 3
    assert chat_once(gateway.port, PLAIN, {"cache-control": "max-age=60"}).header("x-dynabus-cache") == "hit"
    assert chat_once(gateway.port, PLAIN, {"Cache-Control": "No-Store"}).header("x-dynabus-cache") == "miss"
    assert len(upstream.received()) == 4


def test_never_across_keys(start, upstream):
    gateway = start(environment={"MASTER_KEY": "master-secret-0123456789", "ALLOW_UNAUTHENTICATED_PROXY": "true"})
    key = {"Authorization": "Bearer master-secret-0123456789"}
    for expected in ("miss", "hit"):
        assert chat_once(gateway.port, PLAIN, key).header("x-dynabus-cache") == expected
        assert chat_once(gateway.port, PLAIN).header("x-dynabus-cache") == expected
    assert len(upstream.received()) == 2


def test_only_good_answers_are_kept(start, upstream):
    gateway = start()
    upstream.reset_to(lambda request, exchange: exchange.json({"error": {"message": "no"}}, status=400))
    assert chat_once(gateway.port, PLAIN).status == 400
    upstream.reset_to(lambda request, exchange: (exchange.start_stream(), exchange.chunk(chunk_event("ha")),
                                                 exchange.cut()))
    chat_once(gateway.port, STREAM)
    upstream.reset_to(lambda request, exchange: exchange.json(completion("whole")))
    answer = chat_once(gateway.port, PLAIN)
    assert (answer.header("x-dynabus-cache"), said(answer)) == ("miss", "whole")


def test_bytes_are_bounded(start, upstream):
    bound = 100000
    gateway = start(max_bytes=bound)
    upstream.reset_to(lambda request, exchange: exchange.json(completion("x" * 9000)))
    for number in range(30):
        chat_once(gateway.port, asks(f"number {number}"))
        assert metric(gateway, "gateway_cache_bytes") <= bound
    assert 5 < metric(gateway, "gateway_cache_entries") <= 11
    assert metric(gateway, "gateway_cache_evicted_total") >= 15
    assert chat_once(gateway.port, asks("number 29")).header("x-dynabus-cache") == "hit"
    assert chat_once(gateway.port, asks("number 0")).header("x-dynabus-cache") == "miss"
    upstream.reset_to(lambda request, exchange: exchange.json(completion("y" * 2 * bound)))
    for _ in range(2):  # longer than all of it
        assert chat_once(gateway.port, asks("large")).header("x-dynabus-cache") == "miss"


class Gate:
    """An upstream that holds every answer until open()."""

    def __init__(self, answer):
        self.opened = threading.Event()
        self.answer = answer

    def __call__(self, request, exchange):
        assert self.opened.wait(SECONDS)
        self.answer(request, exchange)

    def open(self):
        self.opened.set()


def good(request, exchange):
    if request.json().get("stream"):
        exchange.stream([chunk_event("hel"), chunk_event("lo"), chunk_event(None, "stop"), usage_event(), DONE])
    else:
        exchange.json(completion())


def crowd(gateway, bodies):
    connections = []
    for body in bodies:
        connections.append(Connection(gateway.port))
        connections[-1].send(build_request("POST", "/v1/chat/completions", json.dumps(body).encode()))
    return connections


def in_flight(gateway):
    return metric(gateway, "gateway_requests_in_flight") - 1  # the question itself


@pytest.mark.parametrize("first", [PLAIN, STREAM], ids=["plain", "stream"])
def test_a_thousand_equal_requests_make_one_call(start, upstream, first):
    gateway = start()
    gate = Gate(good)
    upstream.reset_to(gate)
    leader = crowd(gateway, [first])
    upstream.wait_received(1)
    others = crowd(gateway, [STREAM if number % 2 else PLAIN for number in range(CROWD - 1)])
    wait_for(lambda: in_flight(gateway) == CROWD)
    gate.open()
    answers = [connection.read_answer() for connection in leader + others]
    assert all(said(answer) == "hello" for answer in answers)
    assert [answer.header("x-dynabus-cache") for answer in answers] == ["miss"] + ["hit"] * (CROWD - 1)
    assert len(upstream.received()) == 1
    assert results(gateway) == {"hit": 0, "shared": CROWD - 1, "miss": 1}
    for connection in leader + others:
        connection.close()


@pytest.mark.parametrize("first", [PLAIN, STREAM], ids=["plain", "stream"])
def test_the_call_outlives_its_first_client(start, upstream, first):
    gateway = start()
    gate = Gate(good)
    upstream.reset_to(gate)
    leader = crowd(gateway, [first])[0]
    upstream.wait_received(1)
    others = crowd(gateway, [PLAIN, STREAM] * 5)
    wait_for(lambda: in_flight(gateway) == 11)
    leader.close()
    wait_for(lambda: metric(gateway, "gateway_clients_gone_total") == 1)
    others.pop().close()
    gate.open()
    assert all(said(connection.read_answer()) == "hello" for connection in others)
    assert len(upstream.received()) == 1
    for connection in others:
        connection.close()


def test_a_long_stream_goes_on_for_those_who_wait(start, upstream):
    """More than any window, while nobody reads it."""
    gateway = start()
    go_on = threading.Event()
    piece = "0123456789" * 20

    def long_stream(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event(piece))
        assert go_on.wait(SECONDS)
        for _ in range(2000):
            exchange.chunk(chunk_event(piece))
        exchange.chunk(chunk_event(None, "stop") + DONE)
        exchange.end_stream()

    upstream.reset_to(long_stream)
    leader = Connection(gateway.port)
    next(leader.pieces(leader.start_chat(STREAM)))
    other = crowd(gateway, [PLAIN])[0]
    wait_for(lambda: in_flight(gateway) == 2)
    leader.close()
    wait_for(lambda: metric(gateway, "gateway_clients_gone_total") == 1)
    go_on.set()
    assert said(other.read_answer()) == piece * 2001
    assert len(upstream.received()) == 1
    other.close()


def test_nobody_left_ends_the_call(start, upstream):
    gateway = start()
    closed = threading.Event()

    def hold(request, exchange):
        if exchange.wait_for_close(SECONDS):
            closed.set()

    upstream.reset_to(hold)
    leader = crowd(gateway, [PLAIN])[0]
    upstream.wait_received(1)
    others = crowd(gateway, [STREAM] * 4)
    wait_for(lambda: in_flight(gateway) == 5)
    leader.close()
    wait_for(lambda: metric(gateway, "gateway_clients_gone_total") == 1)
    assert not closed.is_set()
    for connection in others:
        connection.close()
    assert closed.wait(SECONDS)
    wait_for(lambda: in_flight(gateway) == 0)
    upstream.reset_to(good)
    assert said(chat_once(gateway.port, PLAIN)) == "hello"


def test_one_more_tries_when_a_call_fails(start, upstream):
    gateway = start()
    calls = []

    def fails_once(request, exchange):
        calls.append(request)
        if len(calls) == 1:
            wait_for(lambda: in_flight(gateway) == 20)
            exchange.json({"error": {"message": "broken"}}, status=500)
        else:
            good(request, exchange)

    upstream.reset_to(fails_once)
    connections = crowd(gateway, [PLAIN])
    upstream.wait_received(1)
    connections += crowd(gateway, [PLAIN] * 19)
    answers = [connection.read_answer() for connection in connections]
    assert sorted(answer.status for answer in answers) == [200] * 19 + [502]
    assert len(upstream.received()) == 2


def test_a_provider_in_trouble_gets_two_calls(start, upstream):
    gateway = start()

    def fails(request, exchange):
        if len(upstream.received()) == 1:
            wait_for(lambda: in_flight(gateway) == 50)
        exchange.json({"error": {"message": "broken"}}, status=500)

    upstream.reset_to(fails)
    connections = crowd(gateway, [PLAIN])
    upstream.wait_received(1)
    connections += crowd(gateway, [PLAIN] * 49)
    answers = [connection.read_answer() for connection in connections]
    assert {answer.status for answer in answers} == {502}
    assert len({answer.error["code"] for answer in answers}) == 1
    assert len(upstream.received()) == 2


def test_a_provider_that_hangs_gets_two_calls(start, upstream):
    gateway = start(more={"request_timeout": "2s"})
    upstream.reset_to(lambda request, exchange: exchange.wait_for_close())
    answers = [connection.read_answer() for connection in crowd(gateway, [PLAIN] * 50)]
    assert {answer.status for answer in answers} == {504}
    assert len(upstream.received()) <= 2


def test_what_refuses_one_request_refuses_no_other(start_gateway, upstream):
    """Behind the cache stands who refuses some: nobody is told what another one was refused for."""
    base = free_base()
    judge = {"name": "judge", "type": "ratelimit", "stage": "before_request", "enabled": True, "timeout": "20s"}
    gateway = start_gateway([target(upstream.url)], arguments=["--cells", "2"],
                            config={"bus": {"listen": f"tcp://127.0.0.1:{base}"}, "plugins": [*cache(), judge]})
    plugin = None

    def vote(ask, body):
        if len(plugin.asks) == 1:
            wait_for(lambda: in_flight(gateway) == 20)
        return {"verdict": "deny" if len(plugin.asks) <= 3 else "pass", "err_text": "not you"}

    plugin = ScriptedPlugin(f"tcp://127.0.0.1:{base + 1}", vote)
    try:
        gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) >= 2, "both cells know it")
        answers = [connection.read_answer() for connection in crowd(gateway, [PLAIN] * 20)]
    finally:
        plugin.close()
    assert sorted(answer.status for answer in answers) == [200] * 17 + [429] * 3
    assert all("plugin judge" in answer.error["message"] for answer in answers if answer.status == 429)
    assert len(upstream.received()) == 1


def test_wrong_types_are_told(start_gateway, upstream):
    wrong = cache(max_age="soon", max_entries=[1])
    gateway = start_gateway([target(upstream.url)], config={"plugins": wrong}, wait=False)
    assert gateway.wait_exit() == 1
    assert "max_age" in gateway.log() and "max_entries" in gateway.log()
