"""Explain: what it says is what a request then does, nobody is called for it, and offline it says the same."""

import json

import pytest

from harness.gateway import run_to_end
from harness.http import request_once
from harness.upstream import answer_normally

MASTER = "sk-master-of-explain"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
STRATEGIES = {
    "single": {"mode": "single"},
    "fallback": {"mode": "fallback"},
    "loadbalance": {"mode": "loadbalance"},
    "least-latency": {"mode": "least-latency"},
    "least-busy": {"mode": "least-busy"},
    "sticky": {"mode": "sticky", "sticky": {"by": "user"}},
    "conditional": {"mode": "conditional", "conditions": [
        {"key": "header.x-team", "value": "blue", "target_key": "b"},
        {"key": "model", "value": "m", "target_key": "c"}]},
    "content-based": {"mode": "content-based", "content_conditions": [
        {"type": "prompt_contains", "value": "hello", "target_key": "b"}]},
    "ab-test": {"mode": "ab-test", "ab_variants": [{"target_key": "a", "weight": 1}, {"target_key": "c", "weight": 3}]},
}


def targets(upstream, **more):
    return [{"name": name, "provider": "openai-compatible", "base_url": f"{upstream.url}/{name}", "models": ["m"],
             "weight": weight, **more} for name, weight in (("a", 1), ("b", 2), ("c", 3))]


def post(port, path, body, key=MASTER, **headers):
    sent = {"Authorization": f"Bearer {key}"} if key else {}
    return request_once(port, "POST", path, json.dumps(body).encode(), {**sent, **headers})


def explain(port, request=CHAT, **more):
    answer = post(port, "/admin/explain", {"request": request, **more})
    assert answer.status == 200, answer.body
    return answer.json()


@pytest.fixture
def start(start_gateway, upstream):
    def one(strategy, upstream_targets=None, **config):
        return start_gateway(upstream_targets or targets(upstream), environment={"MASTER_KEY": MASTER},
                             arguments=["--cells", "1"], config={"strategy": strategy, **config})
    return one


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_it_says_is_what_happens(start, upstream, name):
    gateway = start(STRATEGIES[name])
    seen = set()
    for number in range(25):
        request = {**CHAT, "user": f"user-{number % 7}"}
        headers = {"X-Team": "blue"} if number % 3 == 0 else {}
        before = len(upstream.received())
        said = explain(gateway.port, request, headers=headers)
        assert len(upstream.received()) == before
        assert said["refused"] is None and said["strategy"] == name
        answer = post(gateway.port, "/v1/chat/completions", request, **headers)
        assert (answer.status, answer.header("x-dynabus-target")) == (200, said["order"][0])
        seen.add(said["order"][0])
    assert len(seen) > 1 or name in ("single", "fallback", "content-based", "least-latency", "least-busy")


@pytest.mark.parametrize("name", ["loadbalance", "ab-test", "sticky", "conditional", "fallback"])
def test_offline_says_the_same_without_a_key(start, upstream, tmp_path, name):
    gateway = start(STRATEGIES[name])
    path = tmp_path / "request.json"
    path.write_text(json.dumps({**CHAT, "user": "u"}))
    orders = set()
    for seed in range(8):
        code, text = run_to_end(["explain", "--config", gateway.config_path, "--json", "--seed", str(seed),
                                 "--header", "X-Team: blue", path], tmp_path)
        assert code == 0, text
        offline = json.loads(text.splitlines()[-1])
        live = explain(gateway.port, {**CHAT, "user": "u"}, seed=seed, headers={"x-team": "blue"})
        assert (offline["order"], offline["rule"], offline["seed"]) == (live["order"], live["rule"], seed)
        orders.add(tuple(offline["order"]))
    assert len(orders) > 1 or name not in ("loadbalance", "ab-test")
    code, text = run_to_end(["explain", "--config", gateway.config_path, path], tmp_path)
    assert code == 0 and "place" in text and "tried in its turn" in text


def test_an_order_is_walked_to_its_end(start, upstream):
    gateway = start(STRATEGIES["fallback"])
    order = explain(gateway.port)["order"]
    assert order == ["a", "b", "c"]

    def only_the_last(request, exchange):
        if request.path.startswith("/c/"):
            answer_normally(request, exchange)
        else:
            exchange.json({"error": {"message": "down"}}, status=503)

    upstream.reset_to(only_the_last)
    answer = post(gateway.port, "/v1/chat/completions", CHAT)
    assert answer.header("x-dynabus-target") == "c"
    assert [request.path.split("/")[1] for request in upstream.received()] == order


def test_an_open_breaker_is_seen(start, upstream):
    gateway = start({"mode": "fallback"}, targets(upstream, circuit_breaker={"failure_threshold": 1, "timeout": "60s"}))
    upstream.reset_to(lambda request, exchange: exchange.json({"error": {"message": "down"}}, status=503))
    assert post(gateway.port, "/v1/chat/completions", CHAT).status == 502
    said = explain(gateway.port)
    assert said["order"] == [] and said["refused"]["status"] == 503
    assert 0 < said["refused"]["retry_ms"] <= 60_000
    assert {(one["breaker"], one["why"]) for one in said["targets"]} == {("open", "its breaker is open")}
    answer = post(gateway.port, "/v1/chat/completions", CHAT)
    assert (answer.status, answer.json()["error"]["code"]) == (503, said["refused"]["code"])


def test_why_not(start, upstream):
    some = targets(upstream)
    some[0]["models"], some[2]["provider"] = ["other"], "groq"
    some[2]["api_key"] = "k"
    gateway = start({"mode": "fallback"}, some, overrides="master", aliases={"fast": "m"})
    said = explain(gateway.port, {"model": "fast", "input": "text"}, surface="embeddings")
    assert (said["model"], said["asked_model"], said["order"]) == ("m", "fast", ["b"])
    assert {one["name"]: one["why"] for one in said["targets"]} == {
        "a": "it does not serve the model", "b": "tried in its turn", "c": "it does not take this kind of request"}
    said = explain(gateway.port, headers={"X-Dynabus-Target": "c"})
    assert (said["order"], said["overridden"]) == (["c"], True)
    assert post(gateway.port, "/admin/explain", {"request": CHAT, "headers": {"x-dynabus-target": "nobody"}}).status == 400
    said = explain(gateway.port, headers={"x-dynabus-target": "c"}, key="master")
    assert said["facts"]["key"] == "master"
    refused = post(gateway.port, "/admin/explain", {"request": CHAT, "headers": {"x-dynabus-target": "c"}, "key": "team"})
    assert (refused.status, refused.json()["error"]["code"]) == (403, "override_not_allowed")


@pytest.mark.parametrize("body,param", [
    ({}, "request"), ({"request": "x"}, "request"), ({"request": CHAT, "seed": -1}, "seed"),
    ({"request": CHAT, "surface": "models"}, "surface"), ({"request": CHAT, "headers": {"a": 1}}, "headers"),
    ({"request": CHAT, "key": 7}, "key"), ({"request": CHAT, "more": 1}, "body"), ({"request": {"model": "m"}}, "messages"),
])
def test_what_is_no_question(start, upstream, body, param):
    gateway = start(STRATEGIES["fallback"])
    answer = post(gateway.port, "/admin/explain", body)
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)


def test_it_needs_the_master_key(start, upstream):
    gateway = start(STRATEGIES["fallback"])
    assert post(gateway.port, "/admin/explain", {"request": CHAT}, key=None).status == 401
    assert post(gateway.port, "/admin/explain", {"request": CHAT}, key="wrong").status == 401
    assert request_once(gateway.port, "GET", "/admin/explain").status == 405
    assert upstream.received() == []


# ---- plugins ----

PLUGINS = [
    {"name": "request-logger", "type": "logging", "enabled": True},
    {"name": "word-filter", "type": "guardrail", "enabled": True,
     "stages": ["before_request", "during_stream", "after_request"], "config": {"blocked_words": ["swordfish"]}},
    {"name": "max-token", "enabled": True, "timeout": "50ms", "config": {"max_tokens": 10}},
    {"name": "rate-limit", "enabled": True, "config": {"key_rpm": 2}},
    {"name": "budget", "enabled": True, "config": {"spend_limit_usd": 1, "input_per_m_tokens": 1}},
    {"name": "response-cache", "enabled": True, "on_failure": "open"},
    {"name": "elsewhere", "type": "guardrail", "enabled": True, "required": False, "stage": "before_request"},
    {"name": "switched-off", "enabled": False},
]


def groups(said, stage):
    """Names of those that are asked together, group by group; those that are told last."""
    found = {}
    for one in said["plugins"]:
        if one["stage"] == stage:
            found.setdefault(one["group"], []).append(one["name"])
    return [found[group] for group in sorted(found, key=lambda group: group or 99)]


def test_who_would_be_asked_in_which_order_and_together(start, upstream):
    gateway = start(STRATEGIES["single"], plugins=PLUGINS)
    said = explain(gateway.port)
    before = groups(said, "before_request")
    assert before == [["request-logger", "word-filter", "max-token"], ["rate-limit"], ["budget"], ["response-cache"],
                      ["elsewhere"]]
    assert groups(said, "during_stream") == []
    assert ["word-filter"] in groups(said, "after_request")
    rows = {(one["name"], one["stage"]): one for one in said["plugins"]}
    assert rows["max-token", "before_request"]["timeout_ms"] == 50
    assert rows["budget", "before_request"]["denies"] == {"status": 402, "code": "insufficient_quota"}
    assert rows["rate-limit", "before_request"]["denies"] == {"status": 429, "code": "rate_limit_exceeded"}
    assert rows["word-filter", "after_request"]["denies"] == {"status": 502, "code": "response_rejected"}
    assert rows["rate-limit", "before_request"]["charges"] and not rows["max-token", "before_request"]["charges"]
    assert rows["response-cache", "before_request"]["on_failure"] == "open"
    assert rows["elsewhere", "before_request"]["place"] == "nobody"
    assert rows["elsewhere", "before_request"]["required"] is False
    assert rows["word-filter", "before_request"]["needs"] == ["text"]
    assert rows["request-logger", "on_error"]["group"] is None
    stream = explain(gateway.port, {**CHAT, "stream": True})
    assert groups(stream, "during_stream") == [["word-filter"]]
    assert all(one["group"] is None for one in stream["plugins"] if one["stage"] == "after_request")


def test_nobody_is_asked_and_nothing_is_taken(start, upstream):
    gateway = start(STRATEGIES["single"], plugins=PLUGINS)
    for _ in range(20):
        said = explain(gateway.port, {**CHAT, "messages": [{"role": "user", "content": "swordfish"}], "max_tokens": 99})
        assert said["refused"] is None and said["plugins"]
    metrics = request_once(gateway.port, "GET", "/metrics", headers={"Authorization": f"Bearer {MASTER}"}).body.decode()
    assert not any(line.startswith("gateway_plugin_votes_total") and not line.endswith(" 0") for line in metrics.splitlines())
    answers = [post(gateway.port, "/v1/chat/completions", {**CHAT, "user": str(n)}).status for n in range(3)]
    assert answers == [200, 200, 429], answers


def test_limits_of_keys_are_told_without_an_entry(start, upstream, tmp_path):
    gateway = start(STRATEGIES["single"], keys={"file": str(tmp_path / "keys.json")})
    path = tmp_path / "request.json"
    path.write_text(json.dumps(CHAT))
    code, text = run_to_end(["explain", "--config", gateway.config_path, "--json", path], tmp_path)
    assert code == 0, text
    said = json.loads(text.splitlines()[-1])["plugins"]
    assert said == explain(gateway.port)["plugins"]
    before = [(one["name"], one["only_for"]) for one in said if one["stage"] == "before_request"]
    assert before == [("rate-limit", "keys with limits"), ("budget", "keys with a budget")]
    code, text = run_to_end(["explain", "--config", gateway.config_path, path], tmp_path)
    assert code == 0 and "only keys with limits" in text


def test_offline_says_the_same_of_plugins(start, upstream, tmp_path):
    gateway = start(STRATEGIES["single"], plugins=PLUGINS)
    path = tmp_path / "request.json"
    path.write_text(json.dumps(CHAT))
    code, text = run_to_end(["explain", "--config", gateway.config_path, "--json", path], tmp_path)
    assert code == 0, text
    assert json.loads(text.splitlines()[-1])["plugins"] == explain(gateway.port)["plugins"]
    code, text = run_to_end(["explain", "--config", gateway.config_path, path], tmp_path)
    lines = [line.split() for line in text.splitlines()]
    assert code == 0 and ["before_request", "rate-limit", "here", "closed"] in [line[:1] + line[2:5] for line in lines]
