"""What holds for every plugin, wherever it runs: each built-in hosted by the router's cell and by a process of its own,
over tcp with CURVE; a scripted one with every verdict at every stage, and with every way to fail; the examples."""

import contextlib
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.fleet import Fleet, until
from harness.gateway import run_to_end, target, write_config
from harness.http import chat_once, request_once, sse_events
from harness.plugin import PluginProcess, ScriptedPlugin, echo, edits, marks_of
from harness.process import clean_environment, sanitized
from harness.upstream import DONE, chunk_event, completion, usage_event

ROOT = Path(__file__).resolve().parents[2]
CHAT = {"model": "test-model", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]}
STREAM = CHAT | {"stream": True}


def says(text):
    return CHAT | {"messages": [{"role": "user", "content": text}]}


def answer(request, exchange):
    """`explode` is answered with what word-filter looks for."""
    asked = request.json()
    text = "a bomb goes off" if "explode" in json.dumps(asked["messages"]) else "hello"
    if asked.get("stream"):
        exchange.stream([chunk_event(text[:3]), chunk_event(text[3:]), chunk_event(None, "stop"), usage_event(), DONE])
    else:
        exchange.json(completion(text))


def text_of(found):
    """What a client reads, of a stream as well, and the error that ended it."""
    if found.header("content-type") != "text/event-stream":
        body = found.json()
        return (body["choices"][0]["message"]["content"], None) if found.status == 200 else ("", body["error"]["code"])
    text, error = "", None
    for event in sse_events(found.body):
        if event != b"[DONE]":
            said = json.loads(event)
            error = said["error"]["code"] if "error" in said else error
            text += "".join(choice["delta"].get("content") or "" for choice in said.get("choices", []))
    return text, error


# ---- the built-ins ----

BUILTINS = [symbol.replace("_", "-") for symbol in
            re.findall(r"^PLUGIN\((\w+)\)", (ROOT / "actors/plugins/plugins.def").read_text(), re.MULTILINE)]
# How they are configured so that they have something to say, and what has to come of that. One that is not named here
# runs with its defaults.
CONFIGS = {
    "max-token": {"max_tokens": 100},
    "rate-limit": {"address_rpm": 7},
    "budget": {"per": "gateway", "total_usd": 0.012, "output_per_m_tokens": 1000},
    "word-filter": {"blocked_words": ["bomb"]},
}
MUST_SEE = {"max-token": {400}, "rate-limit": {429}, "budget": {402}, "word-filter": {400, 502}}
REQUESTS = [CHAT, STREAM, says("a bomb"), says("explode"), says("explode") | {"stream": True},
            CHAT | {"max_tokens": 5000}, CHAT, says("one more"), says("and more") | {"stream": True},
            {"model": "nobody-has-it", "messages": []}, says("the last")]


@pytest.fixture
def upstream(module_upstream):
    module_upstream.reset_to(answer)
    yield module_upstream
    assert not module_upstream.failures, module_upstream.failures


def outcomes(directory, upstream, name, place):
    """What clients get, and what the provider saw of their requests."""
    directory.mkdir()
    upstream.reset_to(answer)
    entry = {"name": name, "enabled": True, "place": place, "timeout": "10s", "config": CONFIGS.get(name, {})}
    fleet = Fleet(directory, upstream.url, routers=1, curve=True, is_open=True, plugins=[entry])
    try:
        if place == "plugin":
            fleet.plugin()
        edge = fleet.start()
        if place == "plugin":
            until(lambda: fleet.first_router.log_lines(event="router.plugin.joined"), f"{name} has joined")
        seen = []
        for request in REQUESTS:
            found = chat_once(edge.port, request)
            headers = sorted(key for key, _ in found.headers if key.startswith(("x-ratelimit-", "x-dynabus-cache")))
            seen.append((found.status, *text_of(found), headers))
        fleet.stop()
    finally:
        fleet.close()
    return seen, [request.json() for request in upstream.received()]


def works_in_routers_only(directory, name):
    entry = {"name": name, "enabled": True, "place": "plugin", "config": CONFIGS.get(name, {})}
    path = write_config(directory / "far.json", [target("http://127.0.0.1:9")], plugins=[entry])
    code, said = run_to_end(["validate", str(path)], directory, {"TEST_UPSTREAM_KEY": "k"})
    return code == 1 and "works in the router's process only" in said


@pytest.mark.parametrize("name", BUILTINS)
def test_a_built_in_does_the_same_wherever_it_is_hosted(tmp_path, upstream, name):
    near, sent = outcomes(tmp_path / "near", upstream, name, "router")
    assert MUST_SEE.get(name, set()) <= {status for status, *_ in near}, near
    if works_in_routers_only(tmp_path, name):
        return
    far, sent_far = outcomes(tmp_path / "far", upstream, name, "plugin")
    assert far == near
    assert sent_far == sent


# ---- a scripted one ----


class Court:
    """A gateway in processes that asks for keys, and whose plugin `judge` has to be there."""

    def __init__(self, directory, upstream_url, policy):
        self.policy = policy
        entry = {"name": "judge", "type": "guardrail", "enabled": True, "required": True, "timeout": "400ms",
                 "on_failure": policy}
        self.fleet = Fleet(directory, upstream_url, routers=1, curve=True, is_open=True, plugins=[entry])
        self.router = self.fleet.router(0)
        self.fleet.provider()
        self.endpoint = self.fleet.workers_endpoint()
        self.curve = self.fleet.curve_of("plugin")
        edge = self.fleet.edge()
        with self.sits(lambda ask, body: {"verdict": "pass"}):
            self.port = edge.wait_ready().port

    def count(self, event):
        """Also those that the log has left out, which it says within a second."""
        left_out = self.router.log_lines(event="log.left_out", of=event)
        return len(self.router.log_lines(event=event)) + sum(line["lines"] for line in left_out)

    @contextlib.contextmanager
    def is_seen(self):
        """What begins in it joins; what has joined has left when it ends."""
        joined, left = self.count("router.plugin.joined"), self.count("router.plugin.left")
        yield lambda: until(lambda: self.count("router.plugin.joined") > joined, "the plugin has joined")
        until(lambda: self.count("router.plugin.left") - left == self.count("router.plugin.joined") - joined, "it is gone")

    @contextlib.contextmanager
    def sits(self, vote, **said):
        with self.is_seen() as has_joined:
            plugin = ScriptedPlugin(self.endpoint, vote, curve=self.curve, **said)
            try:
                has_joined()
                yield plugin
            finally:
                plugin.close()

    def ask(self, stage):
        """What came of a request that comes by that stage."""
        if stage == "on_error":
            return chat_once(self.port, CHAT | {"model": "nobody-has-it"})
        return chat_once(self.port, STREAM if stage == "during_stream" else CHAT)


@pytest.fixture(scope="module", params=["closed", "open"])
def court(request, tmp_path_factory, module_upstream):
    court = Court(tmp_path_factory.mktemp(request.param), module_upstream.url, request.param)
    try:
        yield court
        with court.sits(lambda ask, body: {"verdict": "pass"}):  # after all that it went through
            assert chat_once(court.port, CHAT).status == 200
        court.fleet.stop()
    finally:
        court.fleet.close()


AMENDED = edits(("replace", "/messages/0/content", '"amended"')), edits(("replace", "/choices/0/message/content", '"amended"'))
ANSWER = json.dumps(completion("answered")).encode()
BEHAVIOURS = {
    "pass": lambda stage, body: {"verdict": "pass", "body": marks_of(body) if stage == "during_stream" else b""},
    "deny": lambda stage, body: {"verdict": "deny", "err_text": "no"},
    "amend": lambda stage, body: {"verdict": "amend", "body": AMENDED[stage == "after_request"]},
    "answer": lambda stage, body: {"verdict": "answer", "body": ANSWER},
    "failed": lambda stage, body: {"verdict": "failed", "reason": "could not decide"},
    "unknown verdict": lambda stage, body: {"verdict": "perhaps"},
    "no verdict": lambda stage, body: {},
    "broken body": lambda stage, body: {"verdict": "pass" if stage == "during_stream" else "amend", "body": b"\xc1\xff"},
    "silent": lambda stage, body: None,
}
VOTED = {
    ("pass", "before_request"): (200, "hello", None), ("pass", "during_stream"): (200, "hello", None),
    ("pass", "after_request"): (200, "hello", None),
    ("deny", "before_request"): (400, "", "request_rejected"), ("deny", "during_stream"): (502, "", "response_rejected"),
    ("deny", "after_request"): (502, "", "response_rejected"),
    ("amend", "before_request"): (200, "hello", None), ("amend", "after_request"): (200, "amended", None),
    ("answer", "before_request"): (200, "answered", None),
}
BY_POLICY = {"closed": (500, "", "plugin_error"), "open": (200, "hello", None)}


def expected(court, behaviour, stage):
    return (404, "", "model_not_found") if stage == "on_error" else VOTED.get((behaviour, stage), BY_POLICY[court.policy])


@pytest.mark.parametrize("stage", ["before_request", "during_stream", "after_request", "on_error"])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_every_vote_at_every_stage(court, upstream, behaviour, stage):
    with court.sits(lambda ask, body: BEHAVIOURS[behaviour](ask["stage"], body), stages=[stage], needs=["body"],
                    amends=True, answers=True) as judge:
        found = court.ask(stage)
        assert (found.status, *text_of(found)) == expected(court, behaviour, stage)
        if stage == "on_error":  # it is told; whatever it says has no effect
            until(lambda: judge.told, "it is told")
            judge.say("vote", **echo(judge.told[0][0]), **BEHAVIOURS["deny"](stage, b""))
            assert judge.asks == []
        else:
            assert {ask["stage"] for ask, _ in judge.asks} == {stage}
        assert request_once(court.port, "GET", "/v1/models").status == 200  # the router lives
    sent = [request.json()["messages"][0]["content"] for request in upstream.received()]
    reached = {"deny": 0, "answer": 0}.get(behaviour, 1) if stage == "before_request" else int(stage != "on_error")
    if (behaviour, stage) in VOTED:
        assert sent == ["amended" if (behaviour, stage) == ("amend", "before_request") else "hello"] * reached


@pytest.mark.parametrize("stage", ["before_request", "during_stream", "after_request"])
def test_one_that_is_killed_while_it_is_asked(court, upstream, stage):
    with court.is_seen() as has_joined, ThreadPoolExecutor(1) as pool:
        judge = PluginProcess(court.endpoint, [stage], silent=[stage], curve=court.curve)
        try:
            has_joined()
            asking = pool.submit(court.ask, stage)
            until(lambda: judge.heard[f"ask {stage}"] == 1, "it is asked")
        finally:
            judge.kill()
        found = asking.result()
    assert (found.status, *text_of(found)) == BY_POLICY[court.policy]


def test_one_that_is_killed_before_it_is_told(court, upstream):
    with court.is_seen() as has_joined:
        judge = PluginProcess(court.endpoint, ["on_error"], curve=court.curve)
        has_joined()
        judge.kill()
        assert court.ask("on_error").status == 404


@pytest.mark.parametrize("stage", ["before_request", "during_stream", "after_request"])
def test_one_that_breaks_the_protocol_while_it_is_asked(court, upstream, stage):
    def vote(ask, body):
        judge_of[0].socket.send(b"\xc1 this is no header")

    judge_of = []
    with court.sits(vote, stages=[stage]) as judge:
        judge_of.append(judge)
        found = court.ask(stage)
        until(lambda: judge.goodbyes, "it is told to go")
    assert (found.status, *text_of(found)) == BY_POLICY[court.policy]


@pytest.mark.parametrize("stage", ["before_request", "during_stream", "after_request"])
def test_nobody_votes_for_another(court, upstream, stage):
    """Who has seen a question may not answer it in the name of who was asked."""
    with court.sits(lambda ask, body: None, name="other", stages=[stage]) as other:
        def vote(ask, body):
            other.say("vote", marks_of(body) if stage == "during_stream" else b"", **echo(ask), verdict="pass")

        with court.sits(vote, stages=[stage]) as judge:
            found = court.ask(stage)
            assert len(judge.asks) == 1 and other.asks == []
    assert (found.status, *text_of(found)) == BY_POLICY[court.policy]


def test_one_that_floods(court, upstream):
    """Votes on nothing, on what is voted on already, and what it can do, again and again: all are dropped."""
    def vote(ask, body):
        for number in range(2000):
            plugin = judge_of[0]
            plugin.send("vote", **{**echo(ask), "id": os.urandom(16)}, verdict="deny")
            plugin.send("vote", **{**echo(ask), "epoch": ask["epoch"] + 1 + number}, verdict="deny")
            plugin.send("heartbeat")
        return {"verdict": "pass", "notes": "x" * 200}

    judge_of = []
    with court.sits(vote, stages=["before_request"], requests=0) as judge:
        judge_of.append(judge)
        assert chat_once(court.port, CHAT).status in (200, 500)  # it takes as long as it takes
        before = court.router.resident_bytes()
        for _ in range(8):
            found = chat_once(court.port, CHAT)
            assert (found.status, *text_of(found)) in ((200, "hello", None), BY_POLICY[court.policy])
        # a sanitizer keeps freed blocks back
        assert sanitized() or court.router.resident_bytes() - before < 16 << 20
    with court.sits(lambda ask, body: {"verdict": "pass"}):
        assert chat_once(court.port, CHAT).status == 200


# ---- the examples ----


@contextlib.contextmanager
def example(directory, name, *words):
    log_path = directory / f"{name}.log"
    with open(log_path, "wb") as log:
        child = subprocess.Popen([sys.executable, ROOT / "examples" / "plugins" / f"{name}.py", *map(str, words)],
                                 env={**clean_environment({}), "PYTHONDONTWRITEBYTECODE": "1"},
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield child
        child.terminate()
        assert child.wait(20) == 0 and log_path.read_text() == ""
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def test_the_examples_with_keys(tmp_path, upstream):
    entries = [{"name": name, "type": kind, "enabled": True, "timeout": "10s"}
               for name, kind in (("deny", "guardrail"), ("amend", "transform"), ("stream", "guardrail"))]
    fleet = Fleet(tmp_path, upstream.url, routers=1, curve=True, is_open=True, plugins=entries)
    try:
        router, _ = fleet.router(0), fleet.provider()
        reach = "--router", fleet.workers_endpoint(), "--curve", *fleet.curve_of("plugin")
        with example(tmp_path, "deny", "swordfish", *reach), \
                example(tmp_path, "amend", "--system", "Be brief.", "--max-tokens", "3", *reach), \
                example(tmp_path, "stream", "bomb", *reach):
            until(lambda: len(router.log_lines(event="router.plugin.joined")) == 3, "all have joined")
            edge = fleet.edge().wait_ready()
            refused = chat_once(edge.port, says("the swordfish"))
            assert (refused.status, *text_of(refused)) == (400, "", "request_rejected")
            assert text_of(chat_once(edge.port, says("explode"))) == ("a *** goes off", None)
            assert text_of(chat_once(edge.port, says("explode") | {"stream": True})) == ("a *** goes off", None)
        sent = [request.json() for request in upstream.received()]
        assert [request["messages"][0]["content"] for request in sent] == ["Be brief."] * 2
        assert [request["max_tokens"] for request in sent] == [3, 3]
        fleet.stop()
    finally:
        fleet.close()
