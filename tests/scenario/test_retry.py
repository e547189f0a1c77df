"""What the gateway tries again, where and when, on the real binary: docs/retries.md, row by row."""

import json
import signal
import subprocess
import threading
import time

import pytest

from harness.bus import free_base
from harness.gateway import target
from harness.http import chat_once, request_once, sse_events
from harness.process import BINARY, clean_environment
from harness.upstream import Upstream, answer_normally, completion

SECONDS = 30  # against hanging
CHAT = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**CHAT, "stream": True}
FAST = {"attempts": 3, "initial_backoff_ms": 20}


def failing(status, times=None, headers=()):
    """Answers with that status, the first so many times or always."""
    seen = []

    def handler(request, exchange):
        seen.append(time.monotonic())
        if times is None or len(seen) <= times:
            exchange.json({"error": {"message": "no", "type": "t", "code": None}}, status, list(headers))
        elif request.json().get("stream"):
            answer_normally(request, exchange)
        else:
            exchange.json(completion())

    handler.seen = seen
    return handler


@pytest.fixture
def second():
    upstream = Upstream()
    yield upstream
    upstream.close()
    assert not upstream.failures, upstream.failures


def one_target(start_gateway, upstream, retry, **more):
    return start_gateway([target(upstream.url, retry=retry, **more)])


def fallback(start_gateway, upstream, second, config=None, **more):
    targets = [target(upstream.url, "a", **more), target(second.url, "b", **more)]
    return start_gateway(targets, config={"strategy": {"mode": "fallback"}, **(config or {})})


def counted(gateway, family):
    """{labels: value} of one family."""
    found = {}
    for line in request_once(gateway.port, "GET", "/metrics").body.decode().splitlines():
        if line.startswith(family + "{"):
            labels, value = line[len(family):].rsplit(" ", 1)
            found[labels] = float(value)
    return found


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["plain", "stream"])
def test_a_target_that_recovers(start_gateway, upstream, body):
    handler = failing(503, times=2)
    upstream.reset_to(handler)
    gateway = one_target(start_gateway, upstream, FAST)
    answer = chat_once(gateway.port, body)
    assert answer.status == 200, answer
    assert len(upstream.received()) == 3
    if body is CHAT:
        assert answer.header("x-dynabus-attempts") == "3"
    assert handler.seen[1] - handler.seen[0] < 5 and handler.seen[2] - handler.seen[1] < 5
    assert sum(counted(gateway, "gateway_provider_errors_total").values()) == 2


def test_retry_after_is_waited_for(start_both, upstream):
    handler = failing(429, times=1, headers=[("retry-after", "2")])
    upstream.reset_to(handler)
    gateway = one_target(start_both, upstream, FAST)
    assert chat_once(gateway.port, CHAT).status == 200
    assert handler.seen[1] - handler.seen[0] >= 2


def test_a_rate_limit_reset_is_waited_for(start_both, upstream):
    handler = failing(429, times=1, headers=[("x-ratelimit-remaining-requests", "0"),
                                             ("x-ratelimit-reset-requests", "1.2s"),
                                             ("x-ratelimit-reset-tokens", "6m0s")])
    upstream.reset_to(handler)
    gateway = one_target(start_both, upstream, FAST)
    assert chat_once(gateway.port, CHAT).status == 200
    assert handler.seen[1] - handler.seen[0] >= 1.2


def test_who_asks_for_too_long_is_left_at_once(start_both, upstream, second):
    upstream.reset_to(failing(429, headers=[("retry-after", "31")]))
    gateway = fallback(start_both, upstream, second, retry=FAST)
    started = time.monotonic()
    answer = chat_once(gateway.port, CHAT)
    assert answer.status == 200 and answer.header("x-dynabus-target") == "b"
    assert time.monotonic() - started < 20
    assert len(upstream.received()) == 1


@pytest.mark.parametrize("listed", [False, True])
def test_a_401_is_repeated_only_when_listed(start_both, upstream, listed):
    upstream.reset_to(failing(401, times=1))
    retry = {**FAST, "on_status_codes": [401]} if listed else FAST
    gateway = one_target(start_both, upstream, retry)
    answer = chat_once(gateway.port, CHAT)
    assert (answer.status, len(upstream.received())) == ((200, 2) if listed else (502, 1)), answer


def test_a_list_replaces_the_usual_statuses(start_both, upstream):
    upstream.reset_to(failing(503, times=1))
    gateway = one_target(start_both, upstream, {**FAST, "on_status_codes": [500]})
    assert chat_once(gateway.port, CHAT).status == 502
    assert len(upstream.received()) == 1


def test_the_next_target_answers(start_gateway, upstream, second):
    upstream.reset_to(failing(500))
    gateway = fallback(start_gateway, upstream, second)
    for body in (CHAT, STREAM):
        answer = chat_once(gateway.port, body)
        assert (answer.status, answer.header("x-dynabus-target")) == (200, "b")
    assert sse_events(answer.body)[-1] == "[DONE]" or b"[DONE]" in answer.body
    assert len(upstream.received()) == 2 and len(second.received()) == 2
    assert sum(counted(gateway, "gateway_provider_errors_total").values()) == 2


def test_the_last_error_is_told(start_both, upstream, second):
    upstream.reset_to(failing(500))
    second.reset_to(failing(404))
    gateway = fallback(start_both, upstream, second)
    answer = chat_once(gateway.port, CHAT)
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert answer.header("x-dynabus-attempts") == "2"


def test_what_is_wrong_anywhere_is_asked_once(start_both, upstream, second):
    upstream.reset_to(failing(400))
    gateway = fallback(start_both, upstream, second, retry=FAST)
    assert chat_once(gateway.port, CHAT).status == 400
    assert len(upstream.received()) == 1 and len(second.received()) == 0


def test_single_does_not_go_on(start_both, upstream, second):
    upstream.reset_to(failing(500))
    gateway = start_both([target(upstream.url, "a"), target(second.url, "b")])
    assert chat_once(gateway.port, CHAT).status == 502
    assert len(second.received()) == 0


def test_repeats_are_bounded_over_all_requests(start_gateway, upstream):
    upstream.reset_to(failing(503))
    budget = {"retry_budget": {"percent": 20, "min_per_second": 0}}
    gateway = start_gateway([target(upstream.url, retry={"attempts": 3, "initial_backoff_ms": 1})],
                            arguments=["--cells", "1"], config=budget)
    for _ in range(50):
        assert chat_once(gateway.port, CHAT).status == 502
    assert 50 < len(upstream.received()) <= 60


# ---- two at once ----


def slow(upstream, seconds):
    """Says nothing for so long; notes whether the gateway hung up."""
    hung_up = threading.Event()

    def handler(request, exchange):
        if exchange.wait_for_close(seconds):
            hung_up.set()
        else:
            exchange.json(completion("slow"))

    upstream.reset_to(handler)
    return hung_up


def test_a_silent_target_is_raced(start_both, upstream, second):
    hung_up = slow(upstream, 15)
    gateway = fallback(start_both, upstream, second, {"hedge": {"after": "150ms", "max_percent": 100}})
    started = time.monotonic()
    answer = chat_once(gateway.port, CHAT)
    assert (answer.status, answer.header("x-dynabus-target")) == (200, "b")
    assert 0.15 <= time.monotonic() - started < 12
    assert hung_up.wait(10), "the loser was not cancelled"


def test_a_target_that_answers_in_time_is_not_raced(start_both, upstream, second):
    gateway = fallback(start_both, upstream, second, {"hedge": {"after": "5s", "max_percent": 100}})
    for _ in range(5):
        assert chat_once(gateway.port, CHAT).header("x-dynabus-target") == "a"
    assert len(second.received()) == 0


# ---- the event ----


def tail_events(bus, n):
    """The first n events of requests that this gateway has told."""
    arguments = [BINARY, "tail", "--bus", bus, "--since", "0", "gateway.request."]
    child = subprocess.Popen(arguments, env=clean_environment({}), stdout=subprocess.PIPE, text=True)
    watchdog = threading.Timer(SECONDS, child.kill)
    watchdog.start()
    try:
        return [json.loads(child.stdout.readline()) for _ in range(n)]
    finally:
        watchdog.cancel()
        child.send_signal(signal.SIGINT)
        child.stdout.close()
        child.wait(SECONDS)


def test_the_event_has_each_attempt(start_gateway, upstream, second):
    base = free_base()
    upstream.reset_to(failing(503))
    gateway = fallback(start_gateway, upstream, second, {"bus": {"listen": f"tcp://127.0.0.1:{base}"}},
                       retry={"attempts": 2, "initial_backoff_ms": 5})
    assert chat_once(gateway.port, CHAT).status == 200
    (event,) = tail_events(f"tcp://127.0.0.1:{base}", 1)
    assert event["strategy"] == "fallback" and event["attempts"] == 3 and event["upstream_calls"] == 3
    attempts = event["attempt_list"]
    assert [(one["target"], one.get("error"), one["status"]) for one in attempts] == [
        ("a", "UPSTREAM_ERROR", 503), ("a", "UPSTREAM_ERROR", 503), ("b", None, 200)]
    assert all(one["upstream_calls"] == 1 and one["total_us"] > 0 for one in attempts)
    starts = [one.get("started_us", 0) for one in attempts]
    assert starts == sorted(starts)


def test_the_event_shows_who_lost_the_race(start_gateway, upstream, second):
    base = free_base()
    slow(upstream, 15)
    gateway = fallback(start_gateway, upstream, second, {
        "bus": {"listen": f"tcp://127.0.0.1:{base}"}, "hedge": {"after": "100ms", "max_percent": 100}})
    assert chat_once(gateway.port, CHAT).status == 200
    (event,) = tail_events(f"tcp://127.0.0.1:{base}", 1)
    first, other = event["attempt_list"]
    assert (first["target"], first.get("lost_race"), first["upstream_calls"]) == ("a", True, 1)
    assert (other["target"], other.get("hedge"), other["status"]) == ("b", True, 200)
    assert event["upstream_calls"] == 2 and event["target"] == "b"
