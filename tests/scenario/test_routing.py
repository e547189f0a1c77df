"""Where requests go, on the real binary with two cells: each way of choosing that the page about routing names."""

import json
from contextlib import ExitStack

import pytest

from harness.gateway import target
from harness.http import Connection
from harness.upstream import Upstream, completion


@pytest.fixture
def upstreams():
    """Two providers; each answers with its own name, and fails on demand."""
    with ExitStack() as stack:
        made = {}
        for name in ("a", "b"):
            made[name] = Upstream()
            stack.callback(made[name].close)
            made[name].reset_to(lambda request, exchange, name=name: exchange.json(completion(name)))
        yield made


def fails(upstream):
    upstream.reset_to(lambda request, exchange: exchange.json({"error": {"message": "no"}}, status=500))


@pytest.fixture
def start(start_gateway, upstreams):
    def start_it(environment=None, a=None, b=None, **config):
        targets = [target(upstreams["a"].url, "a", models=["m"], **(a or {})),
                   target(upstreams["b"].url, "b", models=["m"], **(b or {}))]
        return start_gateway(targets, arguments=["--cells", "2"], config=config, environment=environment)

    return start_it


def ask(gateway, text="hi", headers=None, **body):
    request = {"model": "m", "messages": [{"role": "user", "content": text}], **body}
    with Connection(gateway.port) as connection:
        return connection.request("POST", "/v1/chat/completions", json.dumps(request).encode(), headers)


def who(answer):
    assert answer.status == 200, answer
    return answer.json()["choices"][0]["message"]["content"]


def test_fallback_goes_on_and_single_does_not(start, upstreams):
    fails(upstreams["a"])
    assert who(ask(start(strategy={"mode": "fallback"}))) == "b"
    assert ask(start(strategy={"mode": "single"})).status == 502


def test_weights(start):
    gateway = start(strategy={"mode": "loadbalance"}, a={"weight": 0}, b={"weight": 1})
    assert {who(ask(gateway)) for _ in range(20)} == {"b"}


def test_rules_about_the_request(start):
    gateway = start(strategy={"mode": "conditional", "conditions": [
        {"key": "header.X-Team", "value": "blue", "target_key": "b"},
        {"key": "metadata.tier", "value": "gold", "target_key": "b"},
        {"key": "estimated_tokens", "value": ">100", "target_key": "b"}]})
    assert who(ask(gateway)) == "a"
    assert who(ask(gateway, headers={"x-team": "blue"})) == "b"
    assert who(ask(gateway, headers={"x-team": "red"})) == "a"
    assert who(ask(gateway, metadata={"tier": "gold"})) == "b"
    assert who(ask(gateway, text="word " * 100)) == "b"


def test_rules_about_what_users_write(start):
    gateway = start(strategy={"mode": "content-based", "content_conditions": [
        {"type": "prompt_contains", "value": "refund", "target_key": "b"},
        {"type": "prompt_regex", "value": "(a+)+$", "target_key": "b"}]})
    assert who(ask(gateway, text="I want a REFUND")) == "b"
    assert who(ask(gateway, text="xyz")) == "a"
    assert who(ask(gateway, text="a" * 1000000 + "b")) == "a"  # and it does not take for ever


def test_the_same_caller_comes_to_the_same_target(start):
    gateway = start(strategy={"mode": "sticky", "sticky": {"by": "header", "header": "X-Session"}})
    places = {}
    for _ in range(3):
        for session in range(16):
            place = who(ask(gateway, headers={"x-session": f"s{session}"}))
            assert places.setdefault(session, place) == place
    assert set(places.values()) == {"a", "b"}


def test_an_alias_and_a_model_that_nobody_serves(start, upstreams):
    gateway = start(aliases={"quick": "m"}, strategy={"mode": "fallback"})
    assert who(ask(gateway, model="quick")) == "a"
    assert upstreams["a"].received()[-1].json()["model"] == "m"
    refused = ask(gateway, model="mm")
    assert refused.status == 404 and refused.error["code"] == "model_not_found"
    assert "'mm'" in refused.error["message"] and "did you mean 'm'" in refused.error["message"]


def test_a_request_that_names_its_targets(start):
    gateway = start(environment={"MASTER_KEY": "master", "ALLOW_UNAUTHENTICATED_PROXY": "true"},
                    strategy={"mode": "single"})
    master = {"authorization": "Bearer master"}
    assert who(ask(gateway, headers={"x-dynabus-target": "b", **master})) == "b"
    wrong = ask(gateway, headers={"x-dynabus-target": "bb", **master})
    assert wrong.status == 400 and "did you mean 'b'" in wrong.error["message"]
    denied = ask(gateway, headers={"x-dynabus-target": "b"})
    assert denied.status == 403 and denied.error["code"] == "override_not_allowed"
