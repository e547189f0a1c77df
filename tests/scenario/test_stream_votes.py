"""Plugins that vote on streams over the bus, on the real binary: what they clear goes, what they hold stays, and what
becomes of a stream whose plugin is slow, wrong or gone."""

import json
import threading
import time

import msgpack
import pytest

from harness.bus import free_base
from harness.fleet import until
from harness.gateway import target
from harness.http import Connection, chat_once, sse_events
from harness.plugin import ScriptedPlugin
from harness.upstream import DONE, chunk_event

STREAM = {"model": "test-model", "messages": [{"role": "user", "content": "x"}], "stream": True}


@pytest.fixture
def scene(start_gateway, upstream):
    """start(vote, **entry) gives a gateway with one plugin that has joined it."""
    opened = []

    def start(vote, timeout="2s", **entry):
        base = free_base()
        plugin = {"name": "judge", "type": "guardrail", "enabled": True, "timeout": timeout, **entry}
        gateway = start_gateway([target(upstream.url)],
                                config={"bus": {"listen": f"tcp://127.0.0.1:{base}"}, "plugins": [plugin]})
        opened.append(ScriptedPlugin(f"tcp://127.0.0.1:{base + 1}", vote, stages=["during_stream"]))
        gateway.wait_until(lambda: gateway.log_lines(event="router.plugin.joined"), "the plugin joins")
        gateway.plugin, gateway.plugin_endpoint, gateway.plugins = opened[-1], f"tcp://127.0.0.1:{base + 1}", opened
        return gateway

    yield start
    for plugin in opened:
        plugin.close()


def says(upstream, *pieces, pause=None):
    def stream(request, exchange):
        exchange.start_stream()
        for i, piece in enumerate(pieces):
            if i > 0 and pause is not None:
                pause(i)
            exchange.chunk(chunk_event(piece))
        exchange.chunk(chunk_event("", finish="stop"))
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(stream)


def said(body):
    texts = ""
    for event in sse_events(body):
        if event != b"[DONE]":
            for choice in json.loads(event).get("choices", []):
                texts += choice.get("delta", {}).get("content") or ""
    return texts


def last_event(body):
    return json.loads(sse_events(body)[-1])


class Judge:
    """Keeps the text of each stream; what `decide(text, last)` gives is its vote: (clear, masks, members)."""

    def __init__(self, decide):
        self.decide = decide
        self.texts = {}

    def __call__(self, ask, body):
        question = msgpack.unpackb(body)
        text = self.texts.get(ask["id"], b"")
        for delta in question["deltas"]:
            assert delta["from"] == len(text) and delta["kind"] == "text"
            text += delta["text"].encode()
        self.texts[ask["id"]] = text
        clear, masks, members = self.decide(text, question.get("last", False))
        mark = {"choice": 0, "kind": "text", "tool": 0, "clear": clear, "masks": masks}
        marks = {"marks": [mark] if text else [], **members.pop("marks", {})}
        return {"verdict": "pass", "body": msgpack.packb(marks), **members}


def all_is_clear(text, last):
    return len(text), [], {}


def test_a_plugin_sees_all_text_and_what_it_clears_goes(scene, upstream):
    says(upstream, "one ", "\u00e9 \U0001f600", " three")
    judge = Judge(all_is_clear)
    gateway = scene(judge)
    answer = chat_once(gateway.port, STREAM)
    assert said(answer.body) == "one \u00e9 \U0001f600 three"
    assert sse_events(answer.body)[-1] == b"[DONE]"
    assert [text.decode() for text in judge.texts.values()] == ["one \u00e9 \U0001f600 three"]
    # All was clear: the stream did not wait for the last question.
    until(lambda: msgpack.unpackb(gateway.plugin.asks[-1][1]).get("last") is True, "asked for the last time")


def test_what_is_held_stays_until_it_is_decided(scene, upstream):
    more = threading.Event()
    says(upstream, "keep this", " back", pause=lambda i: more.wait(20))
    gateway = scene(Judge(lambda text, last: (len(text) if last else min(len(text), 5), [], {})), timeout="300ms")
    with Connection(gateway.port) as connection:
        pieces = connection.pieces(connection.start_chat(STREAM))
        seen = next(pieces)
        while said(seen) != "keep ":
            seen += next(pieces)
        time.sleep(0.6)  # longer than the plugin's time limit: it has answered
        more.set()
        seen += b"".join(pieces)
    assert said(seen) == "keep this back"


def test_masks_replace_what_they_cover(scene, upstream):
    says(upstream, "a se", "cret word")

    def decide(text, last):
        at = text.find(b"secret")
        if not last:
            return min(len(text), 2), [], {}
        return len(text), [[at, at + 6, "[gone]"]], {}

    assert said(chat_once(scene(Judge(decide)).port, STREAM).body) == "a [gone] word"


def test_a_denial_cuts_behind_what_is_clear(scene, upstream):
    says(upstream, "this is fine", " and this not", " never seen")
    gateway = scene(Judge(lambda text, last: (len(text), [], {}) if b"not" not in text
                          else (12, [], {"verdict": "deny", "err_text": "enough"})))
    answer = chat_once(gateway.port, STREAM)
    assert said(answer.body) == "this is fine"
    assert last_event(answer.body)["error"]["code"] == "response_rejected"
    assert last_event(answer.body)["error"]["message"] == "response rejected by plugin judge at during_stream: enough"


def test_a_denial_with_last_words(scene, upstream):
    says(upstream, "this is fine", " and this not")
    gateway = scene(Judge(lambda text, last: (len(text), [], {}) if b"not" not in text
                          else (12, [], {"verdict": "deny", "marks": {"closing": " Bye."}})))
    answer = chat_once(gateway.port, STREAM)
    assert said(answer.body) == "this is fine Bye."
    assert sse_events(answer.body)[-1] == b"[DONE]"


@pytest.mark.parametrize("on_failure, text", [("open", "hello world"), ("closed", "")])
@pytest.mark.parametrize("vote", ["silent", "nonsense", "beyond", "amend"])
def test_who_does_not_vote_as_it_should_fails(scene, upstream, vote, on_failure, text):
    votes = {
        "silent": lambda ask, body: None,
        "nonsense": lambda ask, body: {"verdict": "pass", "body": b"\xc1"},
        "beyond": Judge(lambda text, last: (len(text) + 1, [], {})),
        "amend": lambda ask, body: {"verdict": "amend"},
    }
    says(upstream, "hello", " world")
    gateway = scene(votes[vote], timeout="200ms", on_failure=on_failure)
    answer = chat_once(gateway.port, STREAM)
    if on_failure == "open":
        assert said(answer.body) == text
        assert sse_events(answer.body)[-1] == b"[DONE]"
    else:
        assert answer.status == 500
        assert answer.error["code"] == "plugin_error"


@pytest.mark.parametrize("on_failure", ["open", "closed"])
def test_a_plugin_that_dies_in_the_middle(scene, upstream, on_failure):
    gateway = None
    died = threading.Event()

    def die(i):
        if i == 2:
            until(lambda: gateway.plugin.asks, "it has voted on what came first")
            gateway.plugin.close()
            gateway.wait_until(lambda: gateway.log_lines(event="router.plugin.left"), "it is gone")
            died.set()

    says(upstream, "one ", "two ", "three ", "four", pause=die)
    gateway = scene(Judge(all_is_clear), on_failure=on_failure)
    answer = chat_once(gateway.port, STREAM)
    assert died.wait(10)
    if on_failure == "open":
        assert said(answer.body) == "one two three four"
        assert sse_events(answer.body)[-1] == b"[DONE]"
    else:
        assert said(answer.body) in ("one ", "one two ")
        assert last_event(answer.body)["error"]["code"] == "plugin_error"


@pytest.mark.parametrize("holds", [0, 5])
@pytest.mark.parametrize("is_owed", [False, True])
def test_another_one_takes_over_a_stream(scene, upstream, holds, is_owed):
    """What the lost one had not decided, it decides; it may be asked nothing at the moment, or be silent."""
    gateway = None
    lost = threading.Event()

    def hold(text, last):
        return (len(text) if last else max(len(text) - holds, 0)), [], {}

    class Second(Judge):
        def __call__(self, ask, body):
            question = msgpack.unpackb(body)
            if question.get("resumes"):
                (delta,) = question["deltas"]
                resumed.append((delta["from"], delta["text"]))
                self.texts[ask["id"]] = b"?" * delta["from"]
            return super().__call__(ask, body)

    def lose(i):
        if i == 1:
            gateway.wait_until(lambda: len(gateway.plugin.asks) == 1, "it has the first question")
            gateway.plugins.append(ScriptedPlugin(gateway.plugin_endpoint, Second(hold), stages=["during_stream"]))
        if i == 2:
            gateway.wait_until(lambda: len(gateway.plugin.asks) == 2, "it has the second question")
            gateway.plugin.close()
            gateway.wait_until(lambda: gateway.log_lines(event="router.plugin.left"), "it is gone")
            gateway.wait_until(lambda: resumed, "the other one has taken over")

    judge = Judge(hold)
    resumed = []
    says(upstream, "one ", "two \u00e9", "three ", "four", pause=lose)
    gateway = scene(lambda ask, body: None if is_owed and len(gateway.plugin.asks) == 2 else judge(ask, body), timeout="20s")
    answer = chat_once(gateway.port, STREAM)
    assert said(answer.body) == "one two \u00e9three four" and sse_events(answer.body)[-1] == b"[DONE]"
    assert len(resumed) == 1
    position, text = resumed[0]
    whole = "one two \u00e9".encode()
    assert text.encode() == whole[position:]
    decided = {max(len(said_of) - holds, 0) for said_of in (b"one ", whole)}
    # An answer on its way when the process left may have come or not.
    assert position == min(decided) if is_owed else position in decided


def test_plain_answers_are_none_of_its_business(scene):
    gateway = scene(lambda ask, body: {"verdict": "deny"})
    assert chat_once(gateway.port, STREAM | {"stream": False}).status == 200
    assert gateway.plugin.asks == []
