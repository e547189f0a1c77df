"""Where requests go, on the real binary with two cells and spread over processes: each way that the page about
routing names."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from harness.fleet import MASTER_KEY, Fleet, until
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


@pytest.fixture(params=["cells", "tcp"])
def start(request, start_gateway, tmp_path, upstreams):
    """A gateway with targets `a` and `b`: of two cells, or spread over three processes of two cells each."""
    with ExitStack() as stack:

        def start_it(environment=None, a=None, b=None, **config):
            targets = [target(upstreams[name].url, name, **{"models": ["m"], **(more or {})})
                       for name, more in (("a", a), ("b", b))]
            if request.param == "cells" or environment is not None:
                environment = environment or {"MASTER_KEY": MASTER_KEY}
                return start_gateway(targets, arguments=["--cells", "2"], config=config, environment=environment)
            fleet = Fleet(tmp_path, upstreams["a"].url, routers=1, cells=2)
            stack.callback(fleet.close)
            bus = json.loads(fleet.config.read_text())["bus"]
            fleet.config.write_text(json.dumps({"targets": targets, "bus": bus, **config}))
            stack.callback(fleet.stop)
            return fleet.start()

        yield start_it


def post(gateway, path, body, headers=None):
    headers = {"authorization": f"Bearer {MASTER_KEY}", **(headers or {})}
    with Connection(gateway.port) as connection:
        return connection.request("POST", path, json.dumps(body).encode(), headers)


def ask(gateway, text="hi", headers=None, **body):
    request = {"model": "m", "messages": [{"role": "user", "content": text}], **body}
    return post(gateway, "/v1/chat/completions", request, headers)


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


def test_a_weight_of_zero_is_a_last_resort(start, upstreams):
    gateway = start(strategy={"mode": "loadbalance"}, a={"weight": 0}, b={"weight": 1})
    fails(upstreams["b"])
    assert who(ask(gateway)) == "a"


def test_without_any_weight_nobody_is_asked(start, upstreams):
    gateway = start(strategy={"mode": "loadbalance"}, a={"weight": 0}, b={"weight": 1, "models": ["n"]})
    answer = ask(gateway)
    assert answer.status == 404 and answer.error["code"] == "model_not_found"
    assert upstreams["a"].received() == upstreams["b"].received() == []


def slow(name, seconds):
    def handler(request, exchange):
        time.sleep(seconds)
        exchange.json(completion(name))

    return handler


def test_the_faster_one_is_preferred_once_both_are_known(start, upstreams):
    upstreams["a"].reset_to(slow("a", 0.3))
    gateway = start(strategy={"mode": "least-latency"})
    deadline = time.monotonic() + 20
    met = set()
    while met != {"a", "b"}:  # who is not known yet is tried first
        met.add(who(ask(gateway)))
        assert time.monotonic() < deadline
    # Each cell of a router hears of it by itself.
    until(lambda: [who(ask(gateway)) for _ in range(10)] == ["b"] * 10, "both have told how fast they are")


PRICES = [{"provider": "a", "model": "m", "input_per_m_tokens": 5, "output_per_m_tokens": 5},
          {"provider": "b", "model": "m", "input_per_m_tokens": 1, "output_per_m_tokens": 1}]


def test_the_cheaper_one_is_preferred(start, upstreams):
    gateway = start(strategy={"mode": "cost-optimized"}, models={"prices": PRICES})
    assert {who(ask(gateway)) for _ in range(5)} == {"b"}
    fails(upstreams["b"])
    assert who(ask(gateway)) == "a"


def test_who_has_no_price_is_passed_over_refused_or_free(start):
    one_price = {"prices": PRICES[:1]}
    assert who(ask(start(strategy={"mode": "cost-optimized"}, models=one_price))) == "a"
    skips = start(strategy={"mode": "cost-optimized", "unpriced_strategy": "skip"}, models={"prices": []})
    refused = ask(skips)
    assert refused.status == 404 and "price" in refused.error["message"]


def test_variants_by_weight(start, upstreams):
    variants = [{"target_key": "a", "weight": 0, "label": "old"}, {"target_key": "b", "weight": 1, "label": "new"}]
    gateway = start(strategy={"mode": "ab-test", "ab_variants": variants})
    assert {who(ask(gateway)) for _ in range(10)} == {"b"}
    fails(upstreams["b"])
    assert who(ask(gateway)) == "a"


def test_the_less_busy_one_is_preferred(start, upstreams):
    go = threading.Event()

    def held(request, exchange):
        assert go.wait(30)
        exchange.json(completion("held"))

    upstreams["a"].reset_to(held)
    upstreams["b"].reset_to(held)
    gateway = start(strategy={"mode": "least-busy"})
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, gateway) for _ in range(8)]
        until(lambda: len(upstreams["a"].received()) + len(upstreams["b"].received()) == 8, "all are at an upstream")
        shares = sorted(len(upstreams[name].received()) for name in ("a", "b"))
        go.set()
        assert [answer.result().status for answer in answers] == [200] * 8
    assert shares[0] >= 1, shares  # two cells that choose at once do not see each other's choice


def test_a_rule_is_held_to_but_for_an_open_breaker(start, upstreams):
    """Which provider sees a prompt is the operator's choice, unless that one is known to be out."""
    breaker = {"failure_threshold": 1, "timeout": "60s"}
    rules = [{"key": "model", "value": "m", "target_key": "b"}]
    gateway = start(strategy={"mode": "conditional", "conditions": rules}, b={"circuit_breaker": breaker})
    fails(upstreams["b"])
    assert ask(gateway).status == 502
    assert upstreams["a"].received() == []
    until(lambda: ask(gateway).header("x-dynabus-target") == "a", "the breaker is open, and the router has heard of it")
    assert who(ask(gateway)) == "a"


def test_who_takes_any_model_does_not_take_that_of_another(start, upstreams):
    gateway = start(strategy={"mode": "fallback"}, a={"models": []})
    assert who(ask(gateway)) == "b"
    assert who(ask(gateway, model="of-nobody")) == "a"
    fails(upstreams["b"])
    assert ask(gateway).status == 502
    assert len(upstreams["a"].received()) == 1


def stream(gateway):
    with Connection(gateway.port) as connection:
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        headers = {"authorization": f"Bearer {MASTER_KEY}"}
        return connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)


def test_a_stream_goes_on_elsewhere_until_its_first_byte(start, upstreams):
    def says(text):
        return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"

    def breaks_off(request, exchange):
        exchange.start_stream()
        exchange.chunk(says("begun"))
        exchange.cut()

    def whole(request, exchange):
        exchange.stream([says("whole"), b"data: [DONE]\n\n"])

    fails(upstreams["a"])
    upstreams["b"].reset_to(whole)
    gateway = start(strategy={"mode": "fallback"})
    answer = stream(gateway)
    assert answer.status == 200 and b"whole" in answer.body and b"[DONE]" in answer.body
    upstreams["a"].reset_to(breaks_off)
    asked = len(upstreams["b"].received())
    answer = stream(gateway)
    assert b"begun" in answer.body and b'"error"' in answer.body and b"[DONE]" not in answer.body
    assert len(upstreams["b"].received()) == asked


def test_embeddings_are_routed_alike(start, upstreams):
    vector = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m",
              "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    fails(upstreams["a"])
    upstreams["b"].reset_to(lambda request, exchange: exchange.json(vector))
    answer = post(start(strategy={"mode": "fallback"}), "/v1/embeddings", {"model": "m", "input": "hi"})
    assert answer.status == 200 and answer.json() == vector
    assert answer.header("x-dynabus-target") == "b" and answer.header("x-dynabus-attempts") == "2"


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


def test_a_header_that_a_rule_could_not_see_is_refused(start):
    """All wires take the same: a rule holds, or the request goes nowhere."""
    names = [f"x-h{number}" for number in range(23)] + ["x-" + "n" * 126]
    gateway = start(strategy={"mode": "conditional", "conditions": [
        {"key": f"header.{name}", "value": "v" * 8192 if name == "x-h0" else "yes", "target_key": "b"}
        for name in names]})
    others = {name: "no" for name in names[:-1]}
    assert who(ask(gateway, headers=others)) == "a"
    assert who(ask(gateway, headers={**others, names[-1]: "yes"})) == "b"
    assert who(ask(gateway, headers={"x-h0": "v" * 8192})) == "b"
    assert who(ask(gateway, headers={"x-nobody-asks": "v" * 8193})) == "a"
    answer = ask(gateway, headers={"x-h0": "v" * 8193})
    assert answer.status == 431 and "x-h0" in answer.json()["error"]["message"]


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


def test_the_master_names_targets(start):
    gateway = start(strategy={"mode": "single"})
    assert who(ask(gateway)) == "a"
    assert who(ask(gateway, headers={"x-dynabus-target": "b"})) == "b"
    wrong = ask(gateway, headers={"x-dynabus-target": "bb"})
    assert wrong.status == 400 and "did you mean 'b'" in wrong.error["message"]


def test_only_the_master_names_targets(start):
    gateway = start(environment={"MASTER_KEY": "master", "ALLOW_UNAUTHENTICATED_PROXY": "true"},
                    strategy={"mode": "single"})
    master = {"authorization": "Bearer master"}
    assert who(ask(gateway, headers={"x-dynabus-target": "b", **master})) == "b"
    denied = ask(gateway, headers={"x-dynabus-target": "b", "authorization": ""})
    assert denied.status == 403 and denied.error["code"] == "override_not_allowed"
