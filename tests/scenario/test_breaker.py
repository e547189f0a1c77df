"""The circuit breaker of a target, shared by two cells: what counts opens it for everybody, what is a client's own
mistake does not; while it is open nobody calls the provider; after its time one call looks. And the same where the
provider's process is another one than the router's."""

import json
import threading
import time

import pytest

from harness.fleet import MASTER_KEY, Fleet, until
from harness.gateway import target
from harness.http import chat_once, request_once
from harness.upstream import answer_normally, chunk_event

CHAT = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**CHAT, "stream": True}
BREAKER = {"failure_threshold": 2, "success_threshold": 1, "max_half_threshold": 1, "timeout": "1s"}
LONG = {**BREAKER, "timeout": "60s"}
TWO_CELLS = ("--cells", "2")


def fails(status):
    return lambda request, exchange: exchange.json({"error": {"message": "no"}}, status)


def cut(request, exchange):
    exchange.start_stream()
    exchange.chunk(chunk_event("a"))
    exchange.cut()


def guarded(start_gateway, upstream, breaker):
    return start_gateway([target(upstream.url, circuit_breaker=breaker)], arguments=TWO_CELLS)


def test_failures_open_it_for_both_cells_and_one_probe_closes_it(start_gateway, upstream):
    gateway = guarded(start_gateway, upstream, BREAKER)
    upstream.reset_to(fails(503))
    for _ in range(2):
        assert chat_once(gateway.port, CHAT).status == 502
    for _ in range(8):  # each on a connection of its own, so on both cells
        answer = chat_once(gateway.port, CHAT)
        assert (answer.status, answer.error["code"]) == (503, "upstream_unavailable")
        assert dict(answer.headers)["retry-after"] == "1"
    assert len(upstream.received()) == 2
    go_on = threading.Event()

    def slow(request, exchange):
        go_on.wait(20)
        answer_normally(request, exchange)

    upstream.reset_to(slow)
    time.sleep(1.05)
    answers = []
    probe = threading.Thread(target=lambda: answers.append(chat_once(gateway.port, CHAT)))
    probe.start()
    upstream.wait_received(1)
    assert [chat_once(gateway.port, CHAT).status for _ in range(4)] == [503] * 4
    go_on.set()
    probe.join()
    assert answers[0].status == 200 and len(upstream.received()) == 1
    assert [chat_once(gateway.port, CHAT).status for _ in range(4)] == [200] * 4


def test_a_limited_probe_says_nothing(start_gateway, upstream):
    gateway = guarded(start_gateway, upstream, BREAKER)
    upstream.reset_to(fails(500))
    for _ in range(2):
        chat_once(gateway.port, CHAT)
    time.sleep(1.05)
    upstream.reset_to(fails(429))
    assert [chat_once(gateway.port, CHAT).status for _ in range(3)] == [429] * 3
    upstream.reset_to(answer_normally)
    assert chat_once(gateway.port, CHAT).status == 200


@pytest.mark.parametrize("status", [400, 404, 413, 422, 401, 403, 429])
def test_what_is_not_the_targets_fault_never_opens_it(start_gateway, upstream, status):
    gateway = guarded(start_gateway, upstream, LONG)
    upstream.reset_to(fails(status))
    for _ in range(6):
        assert chat_once(gateway.port, CHAT).status != 503
    assert len(upstream.received()) == 6
    upstream.reset_to(answer_normally)
    assert chat_once(gateway.port, CHAT).status == 200


def test_streams_that_the_provider_cuts_count(start_gateway, upstream):
    gateway = guarded(start_gateway, upstream, LONG)
    upstream.reset_to(cut)
    for _ in range(2):
        assert b"upstream_cut" in chat_once(gateway.port, STREAM).body
    assert chat_once(gateway.port, CHAT).status == 503


def test_a_success_in_between_resets_the_count(start_gateway, upstream):
    gateway = guarded(start_gateway, upstream, LONG)
    for _ in range(3):
        upstream.reset_to(fails(503))
        assert chat_once(gateway.port, CHAT).status == 502
        upstream.reset_to(answer_normally)
        assert chat_once(gateway.port, CHAT).status == 200


def test_without_the_section_there_is_none(start_gateway, upstream):
    gateway = start_gateway([target(upstream.url)], arguments=TWO_CELLS)
    upstream.reset_to(fails(503))
    assert [chat_once(gateway.port, CHAT).status for _ in range(10)] == [502] * 10


def test_it_is_seen_in_the_metrics(start_gateway, upstream):
    gateway = guarded(start_gateway, upstream, LONG)
    upstream.reset_to(fails(503))
    for _ in range(5):
        chat_once(gateway.port, CHAT)
    page = request_once(gateway.port, "GET", "/metrics").body.decode()
    assert 'gateway_circuit_breakers{state="open"} 1' in page
    assert 'gateway_circuit_breakers{state="closed"} 0' in page
    assert 'gateway_circuit_breaker_state{provider="upstream"} 1' in page


def test_over_tcp(tmp_path, upstream):
    """One provider process of two cells, a router and an edge of their own."""
    fleet = Fleet(tmp_path, upstream.url, routers=1, cells=2)
    config = json.loads(fleet.config.read_text())
    config["targets"][0]["circuit_breaker"] = BREAKER
    fleet.config.write_text(json.dumps(config))
    headers = {"Authorization": "Bearer " + MASTER_KEY}
    try:
        edge = fleet.start()
        assert chat_once(edge.port, CHAT, headers=headers).status == 200
        upstream.reset_to(fails(503))
        for _ in range(2):
            assert chat_once(edge.port, CHAT, headers=headers).status == 502
        assert [chat_once(edge.port, CHAT, headers=headers).status for _ in range(6)] == [503] * 6
        assert len(upstream.received()) == 2
        upstream.reset_to(answer_normally)
        until(lambda: chat_once(edge.port, CHAT, headers=headers).status == 200, "the breaker closes again")
        fleet.stop()
    finally:
        fleet.close()
