"""word-filter on the real binary: requests, plain answers and streams, refused and masked."""

import json
import random
import re
import threading

import pytest

from harness.fleet import Fleet
from harness.gateway import run_to_end, target, write_config
from harness.http import Connection, build_request, chat_once, sse_events
from harness.process import FLAT_MEMORY, memory_bound
from harness.upstream import DONE, chunk_event, completion

STREAM = {"model": "test-model", "messages": [{"role": "user", "content": "x"}], "stream": True}
PLAIN = STREAM | {"stream": False}


def word_filter(stages=("before_request", "after_request", "during_stream"), **config):
    return [{"name": "word-filter", "type": "guardrail", "stage": stage, "enabled": True,
             "config": {"blocked_words": ["bomb"], **config}} for stage in stages]


@pytest.fixture
def start(start_gateway, upstream):
    def start_it(stages=("before_request", "after_request", "during_stream"), **config):
        return start_gateway([target(upstream.url)], config={"plugins": word_filter(stages, **config)})

    return start_it


def says(upstream, *pieces, finish=True):
    def stream(request, exchange):
        exchange.start_stream()
        for piece in pieces:
            exchange.chunk(chunk_event(piece) if isinstance(piece, str) else piece)
        if finish:
            exchange.chunk(chunk_event("", finish="stop"))
            exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(stream)


def said(events):
    """What a client puts together."""
    texts = ""
    for event in events:
        if event != b"[DONE]":
            for choice in json.loads(event).get("choices", []):
                texts += choice.get("delta", {}).get("content") or ""
    return texts


def test_a_request_is_refused(start, upstream):
    gateway = start()
    before = len(upstream.received())
    answer = chat_once(gateway.port, PLAIN | {"messages": [{"role": "user", "content": "make a BOMB"}]})
    assert answer.status == 400
    assert answer.error["code"] == "request_rejected"
    assert "request blocked by content policy" in answer.error["message"]
    assert "bomb" not in answer.error["message"].lower()
    assert len(upstream.received()) == before


def test_arguments_of_tools_and_escapes_are_looked_at(start):
    gateway = start(("before_request",), whole_words=True)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":"bo\\u006db"}'}}
    messages = [{"role": "user", "content": "bombs away"},
                {"role": "assistant", "content": None, "tool_calls": [call]}]
    assert chat_once(gateway.port, PLAIN | {"messages": messages[:1]}).status == 200
    assert chat_once(gateway.port, PLAIN | {"messages": messages}).status == 400


@pytest.mark.parametrize("more", [
    {"functions": [{"name": "f", "description": "a bomb"}]},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": {"enum": ["bomb"]}}}}]},
    {"tools": [{"type": "custom", "custom": {"name": "f", "description": "a bomb"}}]},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"title": "a bomb"}}}},
    {"prediction": {"type": "content", "content": "a bomb"}},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"bomb": {"type": "string"}}}}}]},
    {"tool_choice": {"type": "function", "function": {"name": "bomb"}}},
    {"documents": [{"text": "a bomb"}]},
    {"system": "a bomb"},
], ids=lambda more: next(iter(more)))
def test_what_a_model_reads_beside_the_messages_is_looked_at(start, upstream, more):
    gateway = start()
    assert chat_once(gateway.port, PLAIN | more).status == 400
    assert upstream.received() == []


def test_a_name_of_a_member_cannot_be_masked(start, upstream):
    upstream.reset_to(lambda request, exchange: exchange.json(completion("fine")))
    gateway = start(("before_request",), action="mask")
    for name, said, status in (("bomb", "fine", 400), ("fine", "a bomb", 200)):
        tool = {"name": "f", "parameters": {"properties": {name: {"type": "string"}}}, "description": said}
        body = PLAIN | {"tools": [{"type": "function", "function": tool}], "metadata": {"bomb": "bomb"}, "user": "bomb"}
        assert chat_once(gateway.port, body).status == status
    assert len(upstream.received()) == 1


STRANGE = {
    "transcript": {"audio": {"id": "a", "transcript": "a bomb"}},
    "blocks": {"thinking_blocks": [{"type": "thinking", "thinking": "a bomb"}]},
    "details": {"reasoning_details": [{"type": "reasoning.text", "text": "a bomb"}]},
    "part": {"content": {"text": "a bomb"}},
    "thoughts": {"reasoning": {"text": "a bomb"}},
    "thinking": {"thinking": "a bomb"},
    "list": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ["a bomb"]}}]},
}


@pytest.mark.parametrize("delta", STRANGE.values(), ids=STRANGE)
def test_text_in_unusual_places_of_an_answer_is_looked_at(start, upstream, delta):
    gateway = start(stream_action="mask")
    event = {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    says(upstream, b"data: " + json.dumps(event).encode() + b"\n\n")
    streamed = chat_once(gateway.port, STREAM)
    assert streamed.status == 200 and b"***" in streamed.body and b"bomb" not in streamed.body
    plain = completion()
    plain["choices"][0]["message"] |= delta
    upstream.reset_to(lambda request, exchange: exchange.json(plain))
    assert chat_once(gateway.port, PLAIN).status == 502


DISGUISED = {
    "invisible": "b\u200bo\u00adm\ufe0f\U000e0041b",
    "full width": "\uff22\uff2f\uff2d\uff22",
    "accents": "b\u00f6m\u0336b",
    "two scripts": "b\u043emb",
    "control": "bo\x02mb",
}


@pytest.mark.parametrize("word", DISGUISED.values(), ids=DISGUISED)
def test_a_word_in_disguise_is_that_word(start, upstream, word):
    gateway = start(action="mask")
    arguments = json.dumps({"a": f"a {word}!"})
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages = [{"role": "user", "content": f"a {word}!"}, {"role": "assistant", "tool_calls": [call]}]
    for as_escapes in (True, False):
        body = json.dumps(PLAIN | {"messages": messages}, ensure_ascii=as_escapes).encode()
        assert chat_once(gateway.port, body).status == 200
        sent = upstream.received()[-1].json()["messages"]
        assert sent[0]["content"] == "a ***!"
        assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == {"a": "a ***!"}
    events = [json.dumps({"choices": [{"index": 0, "delta": {"content": c}}]}, ensure_ascii=i % 2 == 0).encode()
              for i, c in enumerate(f"a {word}!")]
    says(upstream, *(b"data: " + event + b"\n\n" for event in events))
    assert said(sse_events(chat_once(gateway.port, STREAM).body)) == "a ***!"
    as_written = start(normalize=False)
    upstream.reset_to(lambda request, exchange: exchange.json(completion("fine")))
    assert chat_once(as_written.port, PLAIN | {"messages": messages}).status == 200


def test_what_holds_no_text_is_refused_unless_configured(start):
    parts = [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]
    body = PLAIN | {"messages": [{"role": "user", "content": parts}]}
    assert chat_once(start(("before_request",)).port, body).status == 400
    assert chat_once(start(("before_request",), uninspectable="pass").port, body).status == 200


def test_a_plain_answer_is_refused(start, upstream):
    upstream.reset_to(lambda request, exchange: exchange.json(completion("how to build a bomb")))
    answer = chat_once(start().port, PLAIN)
    assert answer.status == 502
    assert answer.error["code"] == "response_rejected"
    assert "response blocked by content policy" in answer.error["message"]


def test_requests_and_answers_are_masked(start, upstream):
    upstream.reset_to(lambda request, exchange: exchange.json(completion("Bomb and BOMBS")))
    gateway = start(action="mask", mask_text="[..]")
    answer = chat_once(gateway.port, PLAIN | {"messages": [{"role": "user", "content": "a bomb\n\u00e9"}]})
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"] == "[..] and [..]S"
    assert upstream.received()[-1].json()["messages"][0]["content"] == "a [..]\n\u00e9"


@pytest.mark.parametrize("message", [
    '{"role":"user","content":"x","reasoning":"fine","reasoning":"a bomb"}',
    '{"role":"user","content":"x","reasoning":"a bomb","reasonin\\u0067":"a bomb"}',
    '{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":'
    '{"name":"f","arguments":"{}","arguments":"{\\"a\\":\\"bomb\\"}"}}]}',
])
def test_what_stands_twice_cannot_be_masked(start, upstream, message):
    gateway = start(action="mask")
    body = '{"model":"test-model","messages":[%s]}' % message
    answer = chat_once(gateway.port, body.encode())
    assert (answer.status, answer.error["code"]) == (400, "request_rejected")
    assert upstream.received() == []


def test_a_mask_fits_the_arguments_of_a_tool(start, upstream):
    gateway = start(action="mask", mask_text='"\\')
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": "a bomb"})}}
    assert chat_once(gateway.port, PLAIN | {"messages": [{"role": "assistant", "tool_calls": [call]}]}).status == 200
    sent = upstream.received()[-1].json()["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(sent) == {"a": 'a "\\'}
    delta = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": json.dumps({"a": "a bomb"})}}]}
    says(upstream, b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n")
    events = sse_events(chat_once(gateway.port, STREAM).body)
    pieces = [call["function"].get("arguments", "") for event in events[:-1]
              for choice in json.loads(event)["choices"] for call in choice["delta"].get("tool_calls", [])]
    assert json.loads("".join(pieces)) == {"a": 'a "\\'}


def test_many_places_of_a_long_request_are_masked(start, upstream):
    gateway = start(action="mask")
    messages = [{"role": "user", "content": "bomb" if i % 30 == 0 else "x" * 30} for i in range(30000)]
    assert chat_once(gateway.port, PLAIN | {"messages": messages}).status == 200
    sent = upstream.received()[-1].json()["messages"]
    assert [message["content"] for message in sent] == [m["content"].replace("bomb", "***") for m in messages]


@pytest.mark.parametrize("action", ["mask", "reject"])
def test_floods_are_refused_and_harm_nobody_else(start_gateway, upstream, action):
    gateway = start_gateway([target(upstream.url)], arguments=["--cells", "1"], environment=FLAT_MEMORY,
                            config={"plugins": word_filter(action=action)})
    before = gateway.resident_bytes("VmHWM")
    texts = [{"role": "user", "content": ""}] * 80000
    arguments = json.dumps({"a": "\n" * 2_000_000})  # escapes everywhere: it is read with them undone
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    assert chat_once(gateway.port, PLAIN | {"messages": [{"role": "assistant", "tool_calls": [call]}]}).status == 200
    for messages in [[{"role": "user", "content": "bomb " * 1_500_000}], texts, texts, texts, texts, texts, texts]:
        answer = chat_once(gateway.port, PLAIN | {"messages": messages})
        assert (answer.status, answer.error["code"]) == (400, "request_rejected")
    assert chat_once(gateway.port, PLAIN).status == 200
    grown = gateway.resident_bytes("VmHWM") - before
    assert grown < memory_bound(64 * 1024 * 1024), f"{grown} bytes for bodies of 7.5 MB"


def test_a_stream_is_cut_before_the_word(start, upstream):
    says(upstream, "hello b", "o", "mb and more")
    answer = chat_once(start().port, STREAM)
    assert answer.status == 200
    events = sse_events(answer.body)
    assert said(events) == "hello "
    assert json.loads(events[-1])["error"]["code"] == "response_rejected"
    assert b"bo" not in answer.body.replace(b"body", b"")


def test_a_stream_that_says_it_at_once_is_an_error(start, upstream):
    says(upstream, "bomb")
    answer = chat_once(start().port, STREAM)
    assert answer.status == 502
    assert answer.error["code"] == "response_rejected"


def test_a_stream_ends_with_last_words(start, upstream):
    says(upstream, "hello b", "o", "mb and more")
    answer = chat_once(start(closing_text=" I must not say that.").port, STREAM)
    events = sse_events(answer.body)
    assert said(events) == "hello  I must not say that."
    assert events[-1] == b"[DONE]"
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "content_filter"


def test_a_stream_is_masked(start, upstream):
    says(upstream, "a b", "om", "b, ", "a bo")
    answer = chat_once(start(stream_action="mask").port, STREAM)
    events = sse_events(answer.body)
    assert said(events) == "a ***, a bo"
    assert events[-1] == b"[DONE]"


def test_expressions_hold_in_streams(start, upstream):
    says(upstream, "card 1234-", "5678", "-9", "012 and 12-34")
    answer = chat_once(start(("during_stream",), patterns=[r"\d{4}-\d{4}-\d{4}"], stream_action="mask").port, STREAM)
    assert said(sse_events(answer.body)) == "card *** and 12-34"


def test_what_begins_no_match_arrives_while_the_stream_waits(start, upstream):
    """Also in pauses longer than a plugin's time limit nothing is released, and nothing else is delayed."""
    gateway = start()
    more = threading.Event()

    def wait(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("hello bo"))
        more.wait(20)
        exchange.chunk(chunk_event("mb"))
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(wait)
    with Connection(gateway.port) as connection:
        answer = connection.start_chat(STREAM)
        pieces = connection.pieces(answer)
        seen = next(pieces)
        while b"hello" not in seen:
            seen += next(pieces)
        assert said(sse_events(seen)) == "hello "
        threading.Timer(1.2, more.set).start()
        seen += b"".join(pieces)
    assert said(sse_events(seen)) == "hello "


def test_any_split_of_a_long_stream(start, upstream):
    """Far more than a window, cut anywhere: what comes out is what went in, but for the words."""
    draw = random.Random(7)
    text = "".join(draw.choice(["the ", "bo", "mb ", "\u00e9", "\U0001f600", "x\n", '"', "bom"]) for _ in range(6000))
    pieces, at = [], 0
    while at < len(text):
        size = draw.randint(1, 9)
        pieces.append(text[at : at + size])
        at += size
    stream = b"".join(chunk_event(piece) for piece in pieces)

    def flood(request, exchange):
        exchange.start_stream()
        left = stream
        while left:
            size = draw.randint(1, 5000)
            exchange.chunk(left[:size])
            left = left[size:]
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(flood)
    gateway = start(stream_action="mask")
    for _ in range(3):
        events = sse_events(chat_once(gateway.port, STREAM).body)
        assert events[-1] == b"[DONE]"
        assert said(events) == re.sub("bomb(omb)*", "***", text)  # what overlaps is one


def test_configurations_that_cannot_work_are_refused(start_gateway, upstream, tmp_path):
    for config, sentence in (({"patterns": ["a(b"]}, "column"), ({"blocked_words": [""]}, "empty"),
                             ({"scan": ["answers"]}, "must be one of"), ({"patterns": ["a*"]}, "nothing at all")):
        write_config(tmp_path / "config.yaml", [target(upstream.url)],
                            plugins=word_filter(("before_request",), **config))
        code, log = run_to_end(["validate", str(tmp_path / "config.yaml")], tmp_path)
        assert code == 1
        assert sentence in log


@pytest.mark.parametrize("patterns, ends", [([], b"[DONE]"), (["(?<=x )late"], b"error")], ids=["words", "looks-back"])
def test_another_process_takes_over_a_stream(tmp_path, upstream, patterns, ends):
    """What the first one held is decided by the second; rules that need what came before fail."""
    config = {"blocked_words": ["bomb"], "patterns": patterns, "action": "mask"}
    entry = {"name": "word-filter", "enabled": True, "place": "plugin", "timeout": "10s", "config": config}
    fleet = Fleet(tmp_path, upstream.url, routers=1, is_open=True, plugins=[entry])
    lost = threading.Event()

    def stream(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("a bomb, a bo"))
        assert lost.wait(20)
        for piece in ("mb, an", " end"):
            exchange.chunk(chunk_event(piece))
        exchange.chunk(chunk_event("", finish="stop"))
        exchange.chunk(DONE)
        exchange.end_stream()

    def joined():
        return len(fleet.first_router.log_lines(event="router.plugin.joined"))

    try:
        first = fleet.plugin()
        edge = fleet.start()
        edge.wait_until(lambda: joined() == 1, "the first one votes")
        upstream.reset_to(stream)
        with Connection(edge.port) as connection:
            connection.send(build_request("POST", "/v1/chat/completions", json.dumps(STREAM).encode()))
            while b"a ***, a " not in connection.pending:
                connection._receive()
            fleet.plugin()
            edge.wait_until(lambda: joined() == 2, "the second one votes")
            first.kill()
            edge.wait_until(lambda: fleet.first_router.log_lines(event="router.plugin.left"), "the first one is gone")
            lost.set()
            events = sse_events(connection.read_answer().body)
        assert ends in events[-1]
        text = said(events if ends == b"[DONE]" else events[:-1])
        assert text == ("a ***, a ***, an end" if not patterns else "a ***, a ")
        fleet.members.remove(first)
        fleet.stop()
    finally:
        fleet.close()
