"""Malice and bad luck that need a script of their own: connections that die as they are used, secrets that
come back, answers that are not what was promised."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.gateway import UPSTREAM_KEY, target
from harness.http import Connection, build_request, chat_once, sse_events
from harness.upstream import completion, head

GOOD = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**GOOD, "stream": True}
JSON_TYPE = ("content-type", "application/json")


# Kept connections that end just as the next request goes out.

class Forgetful:
    """Answers the first request of each connection and ends the connection when the second arrives."""

    def __init__(self, upstream, how):
        self.answered = []
        self.used = set()
        self.go_on = threading.Event()
        self.go_on.set()
        self.how = how
        upstream.reset_to(self.serve)

    def serve(self, request, exchange):
        if exchange.socket in self.used:
            if self.how == "reset":
                exchange.reset()
            exchange.cut()
            return
        self.used.add(exchange.socket)
        self.answered.append(request.json()["messages"][0]["content"])
        assert self.go_on.wait(20)
        exchange.json(completion())


@pytest.mark.parametrize("how", ["reset", "close"])
def test_connections_that_die_as_they_are_used_again(start_gateway, upstream, how):
    """Each time the request goes out once more on a new connection; also the twentieth time, and the upstream
    works on none of them twice."""
    provider = Forgetful(upstream, how)
    gateway = start_gateway([target(upstream.url)], arguments=["--cells", "1"])
    with Connection(gateway.port) as connection:
        for number in range(40):
            body = {**GOOD, "messages": [{"role": "user", "content": str(number)}]}
            assert connection.chat(body).status == 200, number
    assert provider.answered == [str(number) for number in range(40)]


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_pool_of_dead_connections(start_gateway, upstream, how):
    """A provider that was started anew left many of them: the next request is answered all the same."""
    provider = Forgetful(upstream, how)
    provider.go_on.clear()
    gateway = start_gateway([target(upstream.url)], arguments=["--cells", "1"])
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(chat_once, gateway.port, GOOD) for _ in range(20)]
        upstream.wait_received(20)
        provider.go_on.set()
        assert {answer.result().status for answer in answers} == {200}
    assert chat_once(gateway.port, GOOD).status == 200


def test_a_new_connection_that_dies_is_an_error(connect, upstream):
    """Nothing says that the request was not worked on: it is not sent again."""
    upstream.reset_to(lambda request, exchange: exchange.reset())
    before = connect().chat(GOOD)
    assert (before.status, before.error["code"]) == (502, "upstream_cut")
    assert len(upstream.received()) == 1


# What a provider says about itself.

@pytest.mark.parametrize("value", ["0", "soon", "-5", "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_retry_after_that_says_nothing(connect, upstream, value):
    """The client gets one Retry-After, and one it can read."""
    upstream.reset_to(lambda request, exchange: exchange.json({}, 429, [("retry-after", value)]))
    answer = connect().chat(GOOD)
    assert (answer.status, answer.header("retry-after")) == (429, "1")


@pytest.mark.parametrize("value,told", [("1.5", "2"), ("99999999999999999999", "86400")])
def test_retry_after_of_its_own_kind(start_gateway, upstream, value, told):
    """Parts of a second, which some send, are rounded up; nothing is longer than a day."""
    gateway = start_gateway([target(upstream.url)])
    upstream.reset_to(lambda request, exchange: exchange.json({}, 429, [("retry-after", value)]))
    answer = chat_once(gateway.port, GOOD)
    assert (answer.status, answer.header("retry-after")) == (429, told)


@pytest.mark.parametrize("status", [200, 400, 429])
@pytest.mark.parametrize("name", ["x-request-id", "openai-organization", "x-ratelimit-limit-requests", "content-type"])
def test_a_secret_in_a_header_is_not_shown(connect, upstream, gateway, name, status):
    body = json.dumps(completion()).encode()
    headers = [("content-length", len(body)), (name, "application/json; key=" + UPSTREAM_KEY)]
    upstream.reset_to(lambda request, exchange: exchange.send(head(status, headers) + body))
    answer = connect().chat(GOOD)
    assert answer.status == status
    assert UPSTREAM_KEY not in str(answer.headers)
    assert UPSTREAM_KEY not in gateway.log()


@pytest.mark.parametrize("length", [5, 200_000], ids=["short", "long"])
def test_json_behind_a_comment(start_gateway, upstream, length):
    """The comment promised a stream: JSON instead of events is an error event, not the end of a good stream."""
    def late(request, exchange):
        time.sleep(0.7)
        exchange.json(completion("y" * length))

    upstream.reset_to(late)
    gateway = start_gateway([target(upstream.url)], config={"sse_keepalive": "200ms"})
    answer = chat_once(gateway.port, STREAM)
    events = sse_events(answer.body)
    assert len(events) == 1 and json.loads(events[0])["error"]["code"] == "upstream_bad_answer"
    assert b"[DONE]" not in answer.body


def test_large_answer_cut_for_an_old_client(gateway, upstream):
    """To HTTP/1.0 the end of the connection is the end of the answer: a cut one ends with a reset."""
    def cut(request, exchange):
        exchange.send(head(200, [JSON_TYPE, ("content-length", 4 << 20)]) + b'{"a":"' + b"x" * (3 << 20))
        time.sleep(0.3)
        exchange.cut()

    upstream.reset_to(cut)
    body = json.dumps(GOOD).encode()
    with Connection(gateway.port) as connection:
        connection.send(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\n"
                        b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        with pytest.raises(ConnectionError):
            connection.read_answer()


# The end of a drain.

@pytest.mark.parametrize("cells", ["1", "2"])
def test_requests_that_arrive_too_slowly_for_a_drain(start_gateway, upstream, cells):
    """They are told so: nobody is left with a connection that closes without a word."""
    request = build_request("POST", "/v1/chat/completions", json.dumps(GOOD).encode())
    gateway = start_gateway([target(upstream.url)], config={"drain_timeout": "2s"}, arguments=["--cells", cells])
    connections = [Connection(gateway.port) for _ in range(6)]
    for connection, cut in zip(connections, [10, 40, -1] * 2):
        connection.send(request[:cut])
    chat_once(gateway.port, GOOD)  # by now all of that has been read
    gateway.signal()
    for connection in connections:
        answer = connection.read_answer()
        assert (answer.status, answer.error["code"]) == (503, "gateway_draining")
        assert answer.header("connection") == "close"
        assert connection.at_end()
    assert gateway.wait_exit() == 0
