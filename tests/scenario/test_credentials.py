"""Several credentials of one target: they take turns, one that is no good or at its limit is set aside and the client
does not notice, and when all are, nobody calls the provider and the client is told when to come back."""

import json
from collections import Counter

from harness.fleet import MASTER_KEY, Fleet
from harness.gateway import target
from harness.http import chat_once, request_once
from harness.upstream import answer_normally

CHAT = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
KEYS = {"KEY_ONE": "sk-one-0123456789abcdef", "KEY_TWO": "sk-two-0123456789abcdef", "KEY_THREE": "sk-three-0123456789ab"}


def with_keys(upstream, *names, **more):
    row = target(upstream.url, api_keys=["${%s}" % name for name in names], **more)
    del row["api_key"]
    return row


def started(start_gateway, upstream, *names, **more):
    return start_gateway([with_keys(upstream, *names, **more)], arguments=("--cells", "2"), environment=KEYS)


def key_of(request):
    value = request.header("authorization").removeprefix("Bearer ")
    return next(name for name, key in KEYS.items() if key == value)


def by_key(**statuses):
    def answer(request, exchange):
        status = statuses.get(key_of(request), 200)
        if status == 200:
            answer_normally(request, exchange)
        else:
            headers = [("retry-after", "30")] if status == 429 else []
            exchange.json({"error": {"message": "about " + request.header("authorization")}}, status, headers)
    return answer


def used(upstream):
    return Counter(key_of(request) for request in upstream.received())


def test_they_take_turns(start_gateway, upstream):
    gateway = started(start_gateway, upstream, *KEYS)
    for _ in range(12):
        assert chat_once(gateway.port, CHAT).status == 200
    assert used(upstream) == {name: 4 for name in KEYS}


def test_a_refused_key_is_set_aside_and_no_client_notices(start_gateway, upstream):
    upstream.reset_to(by_key(KEY_ONE=401))
    gateway = started(start_gateway, upstream, "KEY_ONE", "KEY_TWO")
    answers = [chat_once(gateway.port, CHAT) for _ in range(10)]
    assert [answer.status for answer in answers] == [200] * 10
    assert used(upstream) == {"KEY_ONE": 1, "KEY_TWO": 10}
    page = request_once(gateway.port, "GET", "/metrics").body.decode()
    assert 'gateway_target_credentials{state="aside"} 1' in page
    assert 'gateway_target_credentials{state="usable"} 1' in page


def test_a_limited_key_rests_for_the_time_that_the_provider_names(start_gateway, upstream):
    upstream.reset_to(by_key(KEY_ONE=429))
    gateway = started(start_gateway, upstream, "KEY_ONE", "KEY_TWO")
    assert [chat_once(gateway.port, CHAT).status for _ in range(10)] == [200] * 10
    assert used(upstream) == {"KEY_ONE": 1, "KEY_TWO": 10}


def test_with_all_of_them_aside_nobody_is_called(start_gateway, upstream):
    upstream.reset_to(by_key(KEY_ONE=429, KEY_TWO=429))
    gateway = started(start_gateway, upstream, "KEY_ONE", "KEY_TWO")
    assert chat_once(gateway.port, CHAT).status == 429
    assert used(upstream) == {"KEY_ONE": 1, "KEY_TWO": 1}
    answer = chat_once(gateway.port, CHAT)
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert 20 <= int(dict(answer.headers)["retry-after"]) <= 30
    assert len(upstream.received()) == 2
    for secret in KEYS.values():
        assert secret not in gateway.log() and secret.encode() not in answer.body


def test_refused_keys_are_no_reason_to_call_again(start_gateway, upstream):
    upstream.reset_to(by_key(KEY_ONE=401, KEY_TWO=401))
    gateway = started(start_gateway, upstream, "KEY_ONE", "KEY_TWO", circuit_breaker={"failure_threshold": 1})
    for _ in range(5):
        answer = chat_once(gateway.port, CHAT)
        assert (answer.status, answer.error["code"]) == (502, "upstream_auth_error")
    assert len(upstream.received()) == 2


def test_over_tcp(tmp_path, upstream):
    upstream.reset_to(by_key(KEY_ONE=401))
    fleet = Fleet(tmp_path, upstream.url, routers=1, cells=2)
    config = json.loads(fleet.config.read_text())
    config["targets"] = [with_keys(upstream, "KEY_ONE", "KEY_TWO")]
    fleet.config.write_text(json.dumps(config))
    variables = fleet.variables
    fleet.variables = lambda role: {**variables(role), **(KEYS if role == "provider" else {})}
    headers = {"Authorization": "Bearer " + MASTER_KEY}
    try:
        edge = fleet.start()
        assert [chat_once(edge.port, CHAT, headers=headers).status for _ in range(6)] == [200] * 6
        assert used(upstream) == {"KEY_ONE": 1, "KEY_TWO": 6}
        fleet.stop()
    finally:
        fleet.close()
