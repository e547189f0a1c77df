"""rate-limit on the real binary with two cells: exactly so many pass, and answers say what is left."""

import json
import re
import threading

import pytest

from harness.gateway import run_to_end, target, write_config
from harness.http import Connection, chat_once, request_once
from harness.upstream import chunk_event, usage_event, DONE

GOOD = {"model": "test-model", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50}
CELLS = ["--cells", "2"]
MASTER = "master-key-for-tests"
BEARER = {"Authorization": f"Bearer {MASTER}"}


def plugin(config, name="rate-limit", **more):
    return {"name": name, "type": "ratelimit", "stage": "before_request", "enabled": True, "config": config, **more}


@pytest.fixture
def limited(start_gateway, upstream):
    def start(config, *others, **options):
        plugins = [plugin(config), *others]
        return start_gateway([target(upstream.url, models=["test-model", "other-model"])],
                             arguments=CELLS, config={"plugins": plugins}, **options)
    return start


def ask_from_many(gateway, connections, each, body=GOOD, headers=None):
    """Status codes of all answers, over connections that the cells share."""
    statuses, lock = [], threading.Lock()

    def run():
        with Connection(gateway.port) as connection:
            mine = [connection.chat(body, headers).status for _ in range(each)]
        with lock:
            statuses.extend(mine)

    threads = [threading.Thread(target=run) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_exactly_so_many_pass_over_two_cells(limited, upstream):
    gateway = limited({"requests_per_second": 100000, "user_rpm": 60, "algorithm": "fixed_window"})
    statuses = ask_from_many(gateway, 8, 25, {**GOOD, "user": "alice"})
    passed = statuses.count(200)
    assert set(statuses) == {200, 429}
    assert passed in (60, 120), "one minute of the clock, or two when it turned meanwhile"
    assert len(upstream.received()) == passed


def test_the_refusal_in_openais_form(limited, upstream):
    gateway = limited({"requests_per_second": 1000, "key_rpm": 2}, environment={"MASTER_KEY": MASTER})
    first, second, third = (chat_once(gateway.port, GOOD, BEARER) for _ in range(3))
    assert (first.status, second.status, third.status) == (200, 200, 429)
    assert first.header("x-ratelimit-limit-requests") == "2"
    assert first.header("x-ratelimit-remaining-requests") == "1"
    assert re.fullmatch(r"(29(\.\d+)?|30)s", first.header("x-ratelimit-reset-requests"))
    assert third.header("x-ratelimit-remaining-requests") == "0"
    assert third.error["code"] == "rate_limit_exceeded"
    assert third.error["type"] == "rate_limit_error"
    assert "2 requests per minute" in third.error["message"]
    assert 25 <= int(third.header("retry-after")) <= 30
    assert len(upstream.received()) == 2


def test_without_a_key_the_keys_limit_does_not_hold(limited):
    gateway = limited({"requests_per_second": 1000, "key_rpm": 1})
    assert [chat_once(gateway.port, GOOD).status for _ in range(4)] == [200] * 4


def test_what_a_later_plugin_refuses_is_given_back(limited, upstream):
    too_much = {"name": "max-token", "type": "guardrail", "stage": "before_request", "enabled": True,
                "config": {"max_tokens": 100}}
    gateway = limited({"address_rpm": 3, "address_tpm": 1000}, too_much)
    for _ in range(20):
        assert chat_once(gateway.port, {**GOOD, "max_tokens": 101}).status == 400
    answers = [chat_once(gateway.port, GOOD) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert answers[0].header("x-ratelimit-remaining-requests") == "2"
    assert len(upstream.received()) == 3


def test_a_refusal_leaves_the_gateways_own_limit(limited):
    gateway = limited({"requests_per_second": 0.001, "burst": 5, "user_rpm": 1})
    assert chat_once(gateway.port, {**GOOD, "user": "greedy"}).status == 200
    for _ in range(30):
        assert chat_once(gateway.port, {**GOOD, "user": "greedy"}).status == 429
    statuses = [chat_once(gateway.port, {**GOOD, "user": f"user-{i}"}).status for i in range(6)]
    assert statuses == [200] * 4 + [429] * 2


def left(gateway, body=GOOD):
    answer = chat_once(gateway.port, body)
    return answer.status, int(answer.header("x-ratelimit-remaining-tokens", "-1"))


def test_tokens_are_settled_by_usage(limited, upstream):
    """The mock's answers say how many tokens they used; until then the most that it can be is counted."""
    gateway = limited({"model_tpm": 100000})
    small = {**GOOD, "max_tokens": 40000}
    used = chat_once(gateway.port, small).json()["usage"]["total_tokens"]
    status, rest = left(gateway, small)
    assert status == 200
    assert 100000 - 40000 - used - 50 <= rest <= 100000 - 40000 - used
    status, rest = left(gateway, {**small, "model": "other-model"})
    assert (status, rest > 59000) == (200, True)
    answer = chat_once(gateway.port, {**GOOD, "max_tokens": 200000})
    assert answer.status == 429
    assert answer.header("x-should-retry") == "false", "it will never pass"


def test_a_stream_settles_too(limited, upstream):
    def stream(_, exchange):
        exchange.start_stream()
        for event in (chunk_event("hello"), chunk_event("", finish="stop"), usage_event(), DONE):
            exchange.chunk(event)
        exchange.end_stream()

    gateway = limited({"model_tpm": 100000})
    upstream.handler = stream
    for _ in range(5):
        answer = chat_once(gateway.port, {**GOOD, "stream": True, "max_tokens": 90000})
        assert answer.status == 200
        assert answer.header("x-ratelimit-limit-tokens") == "100000"


@pytest.mark.parametrize("config", [{"requests_per_second": 0}, {"key_rpm": -1}, {"user_rpm": 0}, {"burst": 0}])
def test_limits_of_nothing_are_refused(tmp_path, upstream, config):
    path = write_config(tmp_path / "wrong.yaml", [target(upstream.url)], plugins=[plugin(config)])
    code, said = run_to_end(["validate", path], tmp_path)
    assert code == 1
    assert next(iter(config)) in said


def test_a_client_that_leaves_settles_too(limited, upstream):
    left = threading.Event()

    def endless(_, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("hello"))
        exchange.wait_for_close()
        left.set()

    gateway = limited({"model_tpm": 100000})
    usual, upstream.handler = upstream.handler, endless
    with Connection(gateway.port) as connection:
        connection.start_chat({**GOOD, "stream": True, "max_tokens": 90000})
        upstream.wait_received(1)
    assert left.wait(20)
    upstream.handler = usual
    gateway.wait_until(lambda: chat_once(gateway.port, {**GOOD, "max_tokens": 90000}).status == 200, "settled")


@pytest.fixture
def keyed(start_gateway, mock, tmp_path):
    """Plugins that limit nobody by themselves, and an operator who makes keys."""
    plugins = [plugin({"requests_per_second": 100000}), plugin({}, name="budget")]
    gateway = start_gateway([target(f"http://127.0.0.1:{mock.port}", models=["gpt-4o-mini"])], arguments=CELLS,
                            environment={"MASTER_KEY": MASTER},
                            config={"plugins": plugins, "keys": {"file": str(tmp_path / "keys.jsonl")}})

    def create(**fields):
        body = json.dumps({"name": "a key", **fields}).encode()
        answer = request_once(gateway.port, "POST", "/admin/keys", body, BEARER)
        assert answer.status == 201, answer
        return {"Authorization": "Bearer " + answer.json()["key"]}
    return gateway, create


def test_a_key_has_limits_of_its_own(keyed):
    gateway, create = keyed
    body = {**GOOD, "model": "gpt-4o-mini"}
    two, five = create(limits={"requests_per_minute": 2}), create(limits={"requests_per_minute": 5})
    assert [chat_once(gateway.port, body, two).status for _ in range(4)] == [200, 200, 429, 429]
    assert [chat_once(gateway.port, body, five).status for _ in range(6)] == [200] * 5 + [429]
    assert chat_once(gateway.port, body, BEARER).status == 200


def test_a_key_has_a_budget_of_its_own(keyed):
    gateway, create = keyed
    poor = create(budget={"day_usd": 0.0001})
    body = {**GOOD, "model": "gpt-4o-mini", "max_tokens": 100}
    statuses = [chat_once(gateway.port, body, poor).status for _ in range(20)]
    assert statuses[0] == 200 and statuses[-1] == 402
    assert chat_once(gateway.port, body, BEARER).status == 200
