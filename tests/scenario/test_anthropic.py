"""Targets that speak Anthropic's Messages API, behind clients that speak OpenAI's: what goes up, what comes back,
what is told when something has no words there, and fallbacks from one language to the other."""

import json

import pytest

from harness.gateway import KEY_VARIABLE, UPSTREAM_KEY, target
from harness.http import Connection, chat_once, sse_events
from harness.upstream import DONE, Upstream, chunk_event, completion

ASK = {"model": "claude-test", "messages": [{"role": "user", "content": "hello"}]}
STREAM = {**ASK, "stream": True}
USAGE = {"input_tokens": 2000, "cache_read_input_tokens": 8000, "cache_creation_input_tokens": 600,
         "output_tokens": 50}


def claude(url, name="claude", models=("claude-test",), **more):
    return {"name": name, "provider": "anthropic", "base_url": url + "/v1", "api_key": "${%s}" % KEY_VARIABLE,
            "models": list(models), **more}


def message(content, stop_reason="end_turn", **more):
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test-20260101",
            "content": content, "stop_reason": stop_reason, "stop_sequence": None, "usage": USAGE, **more}


def text(words):
    return {"type": "text", "text": words}


def event(kind, **members):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def start(**usage):
    body = message([], None)
    body["usage"] = {**USAGE, "output_tokens": 1, **usage}
    return event("message_start", message=body)


def block(index, content, *deltas):
    yield event("content_block_start", index=index, content_block=content)
    for delta in deltas:
        yield event("content_block_delta", index=index, delta=delta)
    yield event("content_block_stop", index=index)


def finish(reason="end_turn", output=50):
    return [event("message_delta", delta={"stop_reason": reason, "stop_sequence": None},
                  usage={"output_tokens": output}), event("message_stop")]


def said(words):
    return {"type": "text_delta", "text": words}


def plain_stream(*words):
    return [start(), event("ping"), *block(0, text(""), *map(said, words)), *finish()]


def streams(events, split=None):
    """A handler that sends those events, whole or in pieces of that size."""
    def handler(request, exchange):
        data = b"".join(events)
        exchange.stream(list(events) if split is None else
                        [data[at:at + split] for at in range(0, len(data), split)])
    return handler


def answers(body, status=200, headers=()):
    return lambda request, exchange: exchange.json(body, status, headers)


@pytest.fixture(scope="module")
def module_gateway(tmp_path_factory, module_upstream):
    from harness.gateway import Gateway

    gateway = Gateway(tmp_path_factory.mktemp("gateway"), [claude(module_upstream.url)])
    try:
        yield gateway.wait_ready()
        gateway.stop()
    finally:
        gateway.kill()


def ask(gateway, upstream, handler, body=ASK):
    """The gateway's answer, and what the provider was asked."""
    upstream.reset_to(handler)
    answer = chat_once(gateway.port, body)
    received = upstream.received()
    return answer, (received[0].json() if received else None)


def chunks(answer):
    events = sse_events(answer.body)
    assert events[-1] == b"[DONE]", answer.body
    return [json.loads(one) for one in events[:-1]]


def deltas(answer):
    return [choice["delta"] for chunk in chunks(answer) for choice in chunk["choices"]]


# ---- plain ----


def test_plain_answer(gateway, upstream):
    answer, sent = ask(gateway, upstream, answers(message([text("hi "), text("there")])))
    assert answer.status == 200, answer
    body = answer.json()
    assert body["object"] == "chat.completion" and body["id"] == "msg_1" and body["created"] > 1700000000
    assert body["model"] == "claude-test-20260101"
    assert body["choices"] == [{"index": 0, "logprobs": None, "finish_reason": "stop",
                                "message": {"role": "assistant", "content": "hi there", "refusal": None}}]
    assert answer.header("x-dynabus-degraded") is None
    assert sent == {"model": "claude-test", "max_tokens": 4096,
                    "messages": [{"role": "user", "content": "hello"}]}


def test_credential_version_and_path(gateway, upstream):
    ask(gateway, upstream, answers(message([text("x")])))
    request = upstream.received()[0]
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert request.header("x-api-key") == UPSTREAM_KEY
    assert request.header("anthropic-version") == "2023-06-01"
    assert request.header("content-type") == "application/json"
    assert request.header("authorization") is None


def test_cached_tokens_are_part_of_the_prompt(gateway, upstream):
    answer, _ = ask(gateway, upstream, answers(message([text("x")])))
    usage = answer.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (10000, 50, 10050)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 8000
    assert usage["cache_write_tokens"] == 600


def test_a_long_answer_arrives_whole(gateway, upstream):
    words = "wörd 🙂 \"quoted\" \\ \n" * 40000
    answer, _ = ask(gateway, upstream, answers(message([text(words)])))
    assert answer.json()["choices"][0]["message"]["content"] == words


@pytest.mark.parametrize("reason, expected", [
    ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("refusal", "content_filter"),
    ("model_context_window_exceeded", "length"), ("pause_turn", "stop"), ("tool_use", "tool_calls")])
def test_stop_reasons(gateway, upstream, reason, expected):
    answer, _ = ask(gateway, upstream, answers(message([text("x")], reason)))
    assert answer.json()["choices"][0]["finish_reason"] == expected
    answer, _ = ask(gateway, upstream, streams([start(), *block(0, text(""), said("x")), *finish(reason)]), STREAM)
    assert [c["choices"][0]["finish_reason"] for c in chunks(answer)][-1] == expected


# ---- requests ----


def test_a_whole_conversation_goes_up(gateway, upstream):
    call = {"id": "call:1", "type": "function", "function": {"name": "look", "arguments": '{"a": [1, 2]}'}}
    other = {"id": "call_2", "type": "function", "function": {"name": "look", "arguments": ""}}
    body = {
        "model": "claude-test", "max_completion_tokens": 77, "temperature": 0.5, "stop": ["END"], "user": "u-1",
        "parallel_tool_calls": False, "tool_choice": {"type": "function", "function": {"name": "look"}},
        "tools": [{"type": "function", "function": {"name": "look", "description": "looks", "parameters": {
            "type": "object", "properties": {"a": {"type": "array"}}}}},
            {"type": "function", "function": {"name": "bare"}}],
        "messages": [
            {"role": "system", "content": "be kind"}, {"role": "developer", "content": "be short"},
            {"role": "user", "content": [
                {"type": "text", "text": "what is \"this\"?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
            {"role": "assistant", "content": None, "tool_calls": [call, other]},
            {"role": "tool", "tool_call_id": "call:1", "content": "seen"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "also"}]},
            {"role": "user", "content": "go on"}]}
    answer, sent = ask(gateway, upstream, answers(message([text("x")])), body)
    assert answer.status == 200 and answer.header("x-dynabus-degraded") is None
    assert sent == {
        "model": "claude-test", "max_tokens": 77, "temperature": 0.5, "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "tools": [{"name": "look", "description": "looks",
                   "input_schema": {"type": "object", "properties": {"a": {"type": "array"}}}},
                  {"name": "bare", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        "system": [text("be kind"), text("be short")],
        "messages": [
            {"role": "user", "content": [
                text("what is \"this\"?"),
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "call_x3a1", "name": "look", "input": {"a": [1, 2]}},
                {"type": "tool_use", "id": "call_2", "name": "look", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_x3a1", "content": "seen"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": "also"},
                text("go on")]}]}


def test_what_has_no_words_there_is_told(gateway, upstream):
    body = {**ASK, "seed": 1, "temperature": 1.5, "top_p": 0.5, "logit_bias": {"1": 1}, "presence_penalty": 0,
            "n": 1, "x\r\ny": 1, "response_format": {"type": "json_object"},
            "messages": [{"role": "user", "name": "ann", "content": "hello"}]}
    answer, sent = ask(gateway, upstream, answers(message([text("x")])), body)
    degraded = answer.header("x-dynabus-degraded").split(",")
    assert sorted(degraded) == sorted(["seed", "temperature", "top_p", "logit_bias", "x_r_ny", "response_format",
                                       "messages[0].name"])
    assert sent == {"model": "claude-test", "max_tokens": 4096, "temperature": 1,
                    "messages": [{"role": "user", "content": "hello"}]}
    answer, _ = ask(gateway, upstream, streams(plain_stream("x")), {**STREAM, "seed": 1})
    assert answer.header("x-dynabus-degraded") == "seed"


@pytest.mark.parametrize("change, param", [
    ({"n": 2}, "n"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
     "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}]},
     "messages[0].content[0].image_url.url"),
    ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0]"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
])
def test_what_would_change_the_question_is_refused(gateway, upstream, change, param):
    answer, sent = ask(gateway, upstream, answers(message([text("x")])), {**ASK, **change})
    assert answer.status == 400 and answer.error["param"] == param, answer
    assert param in answer.error["message"]
    assert sent is None


def test_a_target_that_rejects_says_so(start_gateway, upstream):
    gateway = start_gateway([claude(upstream.url)],
                            config={"compatibility": {"on_unsupported_param": "reject"}})
    answer, sent = ask(gateway, upstream, answers(message([text("x")])), {**ASK, "seed": 1})
    assert answer.status == 400 and answer.error["param"] == "seed" and sent is None


def test_thinking(gateway, upstream):
    thoughts = [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "redacted_thinking", "data": "cmVk"}]
    body = {**ASK, "reasoning_effort": "low", "temperature": 0.2}
    answer, sent = ask(gateway, upstream, answers(message([*thoughts, text("x")])), body)
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 2048} and sent["max_tokens"] == 4096 + 2048
    assert "temperature" not in sent and answer.header("x-dynabus-degraded") == "temperature"
    reply = answer.json()["choices"][0]["message"]
    assert reply["reasoning_content"] == "hm" and reply["content"] == "x" and reply["thinking_blocks"] == thoughts
    # What the client sends back lets the model go on thinking.
    again = {**body, "temperature": 1, "messages": [*ASK["messages"], reply, {"role": "user", "content": "more"}]}
    answer, sent = ask(gateway, upstream, answers(message([text("y")])), again)
    assert sent["messages"][1]["content"] == [*thoughts, text("x")]
    assert answer.header("x-dynabus-degraded") is None


def test_thinking_gives_way_to_a_forced_tool(gateway, upstream):
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = {**ASK, "reasoning_effort": "high", "tools": tools, "tool_choice": "required"}
    answer, sent = ask(gateway, upstream, answers(message([text("x")])), body)
    assert "thinking" not in sent and sent["tool_choice"] == {"type": "any"}
    assert answer.header("x-dynabus-degraded") == "reasoning_effort"


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}


def test_a_schema_is_asked_for_by_a_tool(gateway, upstream):
    reply = message([{"type": "tool_use", "id": "toolu_1", "name": "structured_answer", "input": {"city": "Ulm"}}],
                    "tool_use")
    answer, sent = ask(gateway, upstream, answers(reply), {**ASK, "response_format": FORMAT})
    assert sent["tool_choice"] == {"type": "tool", "name": "structured_answer", "disable_parallel_tool_use": True}
    assert sent["tools"][0]["input_schema"] == SCHEMA
    choice = answer.json()["choices"][0]
    assert json.loads(choice["message"]["content"]) == {"city": "Ulm"}
    assert choice["finish_reason"] == "stop" and "tool_calls" not in choice["message"]
    events = [start(), *block(0, {"type": "tool_use", "id": "toolu_1", "name": "structured_answer", "input": {}},
                              *({"type": "input_json_delta", "partial_json": p} for p in ('{"ci', 'ty":', '"Ulm"}'))),
              *finish("tool_use")]
    answer, _ = ask(gateway, upstream, streams(events), {**STREAM, "response_format": FORMAT})
    assert json.loads("".join(d.get("content", "") for d in deltas(answer))) == {"city": "Ulm"}
    assert chunks(answer)[-1]["choices"][0]["finish_reason"] == "stop"


def test_an_answer_in_two_calls_or_among_words_is_one_json(gateway, upstream):
    tool = lambda city: {"type": "tool_use", "id": "toolu_" + city, "name": "structured_answer", "input": {"city": city}}
    asked = {**ASK, "response_format": FORMAT}
    for content in ([text("Here it is:"), tool("Ulm"), text("Done.")], [tool("Ulm"), tool("Bonn")]):
        answer, sent = ask(gateway, upstream, answers(message(content, "tool_use")), asked)
        assert sent["tool_choice"]["disable_parallel_tool_use"] is True
        assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {"city": "Ulm"}
        events = [start()]
        for index, one in enumerate(content):
            if one["type"] == "text":
                events += block(index, text(""), said(one["text"]))
            else:
                events += block(index, {**one, "input": {}},
                                {"type": "input_json_delta", "partial_json": json.dumps(one["input"])})
        answer, _ = ask(gateway, upstream, streams([*events, *finish("tool_use")], 5), {**asked, "stream": True})
        assert json.loads("".join(d.get("content", "") for d in deltas(answer))) == {"city": "Ulm"}


def test_what_thinks_is_not_forced(gateway, upstream):
    thinking = {"type": "enabled", "budget_tokens": 2048}
    body = {**ASK, "max_tokens": 9000, "thinking": thinking, "response_format": FORMAT}
    answer, sent = ask(gateway, upstream, answers(message([text("x")])), body)
    assert sent["thinking"] == thinking and "tool_choice" not in sent
    assert answer.header("x-dynabus-degraded") == "response_format"
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = {**ASK, "max_tokens": 9000, "thinking": thinking, "tools": tools, "tool_choice": "required"}
    answer, sent = ask(gateway, upstream, answers(message([text("x")])), body)
    assert "thinking" not in sent and sent["tool_choice"] == {"type": "any"}
    assert answer.header("x-dynabus-degraded") == "thinking"


def test_a_conversation_with_calls_has_tools(gateway, upstream):
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = {**ASK, "messages": [*ASK["messages"], {"role": "assistant", "content": "\n", "tool_calls": [call]},
                                {"role": "tool", "tool_call_id": "c1", "content": "1"},
                                {"role": "user", "content": "sum up"}]}
    answer, sent = ask(gateway, upstream, answers(message([text("x")])), body)
    assert sent["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert sent["tool_choice"] == {"type": "none"} and answer.header("x-dynabus-degraded") is None
    assert sent["messages"][1]["content"] == [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]


def test_files_are_pdf_or_text(gateway, upstream):
    def body(media_type, data):
        part = {"type": "file", "file": {"filename": "a", "file_data": f"data:{media_type};base64,{data}"}}
        return {**ASK, "messages": [{"role": "user", "content": [part]}]}

    _, sent = ask(gateway, upstream, answers(message([text("x")])), body("text/plain", "Z3LDvG4="))
    assert sent["messages"][0]["content"] == [
        {"type": "document", "title": "a", "source": {"type": "text", "media_type": "text/plain", "data": "grün"}}]
    answer, sent = ask(gateway, upstream, answers(message([text("x")])), body("text/csv", "YSxi"))
    assert answer.status == 400 and "text/csv" in answer.error["message"] and sent is None
    assert answer.error["param"] == "messages[0].content[0].file.file_data"


# ---- streams ----


def test_stream(gateway, upstream):
    answer, sent = ask(gateway, upstream, streams(plain_stream("hel", "lo")), STREAM)
    assert answer.header("content-type").startswith("text/event-stream") and sent["stream"] is True
    assert "stream_options" not in sent
    got = chunks(answer)
    assert [c["choices"][0]["delta"] for c in got] == [
        {"role": "assistant", "content": ""}, {"content": "hel"}, {"content": "lo"}, {}]
    assert [c["choices"][0]["finish_reason"] for c in got] == [None, None, None, "stop"]
    assert {(c["id"], c["object"], c["model"]) for c in got} == {
        ("msg_1", "chat.completion.chunk", "claude-test-20260101")}
    assert all("usage" not in c for c in got)


def test_usage_for_who_asked(gateway, upstream):
    body = {**STREAM, "stream_options": {"include_usage": True}}
    answer, _ = ask(gateway, upstream, streams(plain_stream("x")), body)
    last = chunks(answer)[-1]
    assert last["choices"] == [] and last["usage"]["prompt_tokens"] == 10000
    assert last["usage"]["total_tokens"] == 10050
    assert all(c["usage"] is None for c in chunks(answer)[:-1])


@pytest.mark.parametrize("split", [1, 7, 64, None])
def test_parallel_calls_with_split_arguments(gateway, upstream, split):
    first, second = '{"city":"Köln","n":[1,2]}', '{"x":"\\u00e4\\n"}'
    partial = lambda t: [{"type": "input_json_delta", "partial_json": c} for c in ["", *t]]
    events = [start(), *block(0, text(""), said("calling")),
              *block(1, {"type": "tool_use", "id": "toolu_a", "name": "f", "input": {}}, *partial(first)),
              *block(2, {"type": "tool_use", "id": "toolu_b", "name": "g", "input": {}}, *partial(second)),
              *block(3, {"type": "tool_use", "id": "toolu_c", "name": "none", "input": {}}, *partial("")),
              *finish("tool_use")]
    answer, _ = ask(gateway, upstream, streams(events, split), STREAM)
    calls = {}
    for delta in deltas(answer):
        for piece in delta.get("tool_calls", ()):
            call = calls.setdefault(piece["index"], {"arguments": ""})
            call.update({k: piece[k] for k in ("id", "type") if k in piece})
            call["name"] = piece["function"].get("name", call.get("name"))
            call["arguments"] += piece["function"]["arguments"]
    assert calls == {0: {"id": "toolu_a", "type": "function", "name": "f", "arguments": first},
                     1: {"id": "toolu_b", "type": "function", "name": "g", "arguments": second},
                     2: {"id": "toolu_c", "type": "function", "name": "none", "arguments": "{}"}}
    assert chunks(answer)[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_thinking_in_a_stream(gateway, upstream):
    events = [start(), *block(0, {"type": "thinking", "thinking": "", "signature": ""},
                              {"type": "thinking_delta", "thinking": "h"}, {"type": "thinking_delta", "thinking": "m"},
                              {"type": "signature_delta", "signature": "c2ln"}),
              *block(1, {"type": "redacted_thinking", "data": "cmVk"}), *block(2, text(""), said("x")), *finish()]
    answer, _ = ask(gateway, upstream, streams(events, 3), STREAM)
    assert deltas(answer)[1:-1] == [
        {"reasoning_content": "h"}, {"reasoning_content": "m"},
        {"thinking_blocks": [{"type": "thinking", "signature": "c2ln"}]},
        {"thinking_blocks": [{"type": "redacted_thinking", "data": "cmVk"}]}, {"content": "x"}]


def test_thoughts_of_a_stream_go_back_as_they_were_collected(gateway, upstream):
    tools = [{"type": "function", "function": {"name": "f"}}]
    events = [start(), *block(0, {"type": "thinking", "thinking": "", "signature": ""},
                              {"type": "thinking_delta", "thinking": "h"}, {"type": "thinking_delta", "thinking": "m"},
                              {"type": "signature_delta", "signature": "c2ln"}),
              *block(1, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}), *finish("tool_use")]
    asked = {**STREAM, "reasoning_effort": "low", "tools": tools}
    answer, _ = ask(gateway, upstream, streams(events), asked)
    reply = {"role": "assistant", "content": None, "reasoning_content": "", "thinking_blocks": [], "tool_calls": []}
    for delta in deltas(answer):
        reply["reasoning_content"] += delta.get("reasoning_content", "")
        reply["thinking_blocks"] += delta.get("thinking_blocks", [])
        for piece in delta.get("tool_calls", ()):
            if "id" in piece:
                reply["tool_calls"].append({"id": piece["id"], "type": "function", "function": {
                    "name": piece["function"]["name"], "arguments": ""}})
            reply["tool_calls"][piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    body = {**asked, "stream": False, "messages": [*ASK["messages"], reply,
                                                   {"role": "tool", "tool_call_id": "toolu_1", "content": "1"}]}
    answer, sent = ask(gateway, upstream, answers(message([text("x")])), body)
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]
    assert answer.header("x-dynabus-degraded") is None


def test_pings_are_signs_of_life(gateway, upstream):
    events = [start(), *list(block(0, text(""), said("x")))[:2], event("ping"), event("ping"),
              event("content_block_stop", index=0), *finish()]
    answer, _ = ask(gateway, upstream, streams(events), STREAM)
    assert answer.body.count(b": ping\n\n") == 2
    assert [d.get("content") for d in deltas(answer)] == ["", "x", None]


# ---- errors ----


def failure(kind, words="no"):
    return {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"}


@pytest.mark.parametrize("status, kind, expected, code", [
    (400, "invalid_request_error", 400, "invalid_request"), (401, "authentication_error", 502, "upstream_auth_error"),
    (404, "not_found_error", 404, "model_not_found"), (413, "request_too_large", 413, "request_too_large"),
    (429, "rate_limit_error", 429, "rate_limit_exceeded"), (500, "api_error", 502, "upstream_error"),
    (529, "overloaded_error", 502, "upstream_error")])
def test_error_statuses(start_gateway, upstream, status, kind, expected, code):
    gateway = start_gateway([claude(upstream.url, retry={"attempts": 1})])
    for body in (ASK, STREAM):
        answer, _ = ask(gateway, upstream, answers(failure(kind, "the words"), status), body)
        assert answer.status == expected and answer.error["code"] == code, answer
        assert ("the words" in answer.error["message"]) == (status == 400)


def test_an_error_before_the_first_delta_is_an_answer(start_gateway, upstream):
    gateway = start_gateway([claude(upstream.url, retry={"attempts": 1})])
    events = [start(), event("ping"), event("error", error={"type": "overloaded_error", "message": "Overloaded"})]
    answer, _ = ask(gateway, upstream, streams(events), STREAM)
    assert answer.status == 502 and answer.error["code"] == "upstream_error"


def test_an_error_behind_the_first_delta_ends_the_stream(gateway, upstream):
    events = [start(), *list(block(0, text(""), said("half")))[:2],
              event("error", error={"type": "overloaded_error", "message": "Overloaded"})]
    answer, _ = ask(gateway, upstream, streams(events), STREAM)
    got = sse_events(answer.body)
    assert answer.status == 200 and json.loads(got[1])["choices"][0]["delta"] == {"content": "half"}
    assert "error" in json.loads(got[-1]) and b"[DONE]" not in answer.body


def test_a_stream_that_breaks_off_is_an_error(gateway, upstream):
    events = [start(), *block(0, text(""), said("half"))]
    answer, _ = ask(gateway, upstream, streams(events), STREAM)
    assert "error" in json.loads(sse_events(answer.body)[-1]) and b"[DONE]" not in answer.body


@pytest.mark.parametrize("body", [completion(), {"type": "message"}, {"content": []}, []])
def test_a_stranger_answer_is_no_answer(start_gateway, upstream, body):
    gateway = start_gateway([claude(upstream.url, retry={"attempts": 1})])
    answer, _ = ask(gateway, upstream, answers(body))
    assert answer.status == 502 and answer.error["code"] == "upstream_bad_answer"


# ---- from one language to the other ----


@pytest.fixture
def pair(start_gateway, upstream):
    """A gateway whose first target fails, in either language, and whose second one answers in the other."""
    second = Upstream()

    def start_pair(claude_first):
        make = lambda is_claude, url, name: (claude if is_claude else target)(url, name, models=["claude-test"])
        targets = [make(claude_first, upstream.url, "first"), make(not claude_first, second.url, "second")]
        for one in targets:
            one["retry"] = {"attempts": 1}
        return start_gateway(targets, config={"strategy": {"mode": "fallback"}}), second

    yield start_pair
    second.close()


@pytest.mark.parametrize("claude_first", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_fallback_across_languages(pair, upstream, claude_first, stream):
    gateway, second = pair(claude_first)
    kind = "overloaded_error" if claude_first else "server_error"
    upstream.reset_to(answers(failure(kind), 529 if claude_first else 500))
    if stream and claude_first:
        second.reset_to(streams([chunk_event("from two"), chunk_event(None, "stop"), DONE]))
    elif stream:
        second.reset_to(streams(plain_stream("from two")))
    else:
        second.reset_to(answers(completion("from two") if claude_first else message([text("from two")])))
    answer = chat_once(gateway.port, {**ASK, "stream": stream, "seed": 7})
    assert answer.status == 200, answer
    if stream:
        assert "".join(d.get("content", "") for d in deltas(answer)) == "from two"
    else:
        assert answer.json()["choices"][0]["message"]["content"] == "from two"
    assert [r.path for r in upstream.received()] == ["/v1/messages" if claude_first else "/v1/chat/completions"]
    assert [r.path for r in second.received()] == ["/v1/chat/completions" if claude_first else "/v1/messages"]
    # What is told as lost is what the one that answered did not take.
    assert answer.header("x-dynabus-degraded") == (None if claude_first else "seed")


def test_fallback_out_of_a_stream_that_had_not_begun(pair, upstream):
    gateway, second = pair(True)
    upstream.reset_to(streams([start(), event("error", error={"type": "overloaded_error", "message": "x"})]))
    second.reset_to(streams([chunk_event("ok"), chunk_event(None, "stop"), DONE]))
    answer = chat_once(gateway.port, STREAM)
    assert "".join(d.get("content", "") for d in deltas(answer)) == "ok"


# ---- against `dynabus mock` ----


@pytest.fixture
def mocked(start_gateway, mock):
    """A gateway whose provider is the mock, which has its own words for all of this."""
    return start_gateway([claude(mock.url, models=(), retry={"attempts": 1})])


def test_the_mock_speaks_it(mocked):
    plain = chat_once(mocked.port, {**ASK, "model": "mock-tokens-5"})
    assert plain.status == 200, plain
    words = plain.json()["choices"][0]["message"]["content"]
    assert len(words.split()) == 5 and plain.json()["usage"]["completion_tokens"] == 5
    stream = chat_once(mocked.port, {**STREAM, "model": "mock-tokens-5", "stream_options": {"include_usage": True}})
    assert "".join(d.get("content", "") for d in deltas(stream)) == words
    assert chunks(stream)[-1]["usage"]["completion_tokens"] == 5


def test_the_mocks_thoughts_and_tools(mocked):
    body = {**ASK, "model": "mock-think-3-tools-2"}
    plain = chat_once(mocked.port, body).json()["choices"][0]
    assert plain["finish_reason"] == "tool_calls" and len(plain["message"]["reasoning_content"].split()) == 3
    assert [json.loads(c["function"]["arguments"]) for c in plain["message"]["tool_calls"]] == [{"place": "harbor"}] * 2
    stream = deltas(chat_once(mocked.port, {**body, "stream": True}))
    arguments = ["", ""]
    for delta in stream:
        for piece in delta.get("tool_calls", ()):
            arguments[piece["index"]] += piece["function"]["arguments"]
    assert [json.loads(a) for a in arguments] == [{"place": "harbor"}] * 2
    assert "".join(d.get("reasoning_content", "") for d in stream) == plain["message"]["reasoning_content"]


def test_the_mocks_faults(mocked):
    for stream in (False, True):
        assert chat_once(mocked.port, {**ASK, "model": "mock-status-529", "stream": stream}).status == 502
        assert chat_once(mocked.port, {**ASK, "model": "mock-status-401", "stream": stream}).status == 502
    assert chat_once(mocked.port, {**STREAM, "model": "mock-error-first"}).status == 502
    for model in ("mock-error-middle", "mock-cut-done", "mock-cut-body"):
        answer = chat_once(mocked.port, {**STREAM, "model": model})
        assert answer.status == 200 and "error" in json.loads(sse_events(answer.body)[-1]), (model, answer)


# ---- the official SDK ----


@pytest.fixture
def sdk(gateway):
    import openai
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key="x", max_retries=0, timeout=60) as client:
        yield client


def test_sdk_plain_and_stream(sdk, upstream):
    upstream.reset_to(answers(message([text("hello")])))
    answer = sdk.chat.completions.create(model="claude-test", messages=ASK["messages"])
    assert answer.choices[0].message.content == "hello" and answer.usage.prompt_tokens == 10000
    upstream.reset_to(streams(plain_stream("hel", "lo")))
    got = sdk.chat.completions.create(model="claude-test", messages=ASK["messages"], stream=True,
                                      stream_options={"include_usage": True})
    parts = list(got)
    assert "".join(p.choices[0].delta.content or "" for p in parts if p.choices) == "hello"
    assert parts[-1].usage.total_tokens == 10050


def test_sdk_tool_loop(sdk, upstream):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    upstream.reset_to(answers(message([{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}],
                                      "tool_use")))
    answer = sdk.chat.completions.create(model="claude-test", messages=ASK["messages"], tools=tools)
    reply = answer.choices[0].message
    assert json.loads(reply.tool_calls[0].function.arguments) == {"a": 1}
    upstream.reset_to(answers(message([text("done")])))
    answer = sdk.chat.completions.create(
        model="claude-test", tools=tools,
        messages=[*ASK["messages"], reply, {"role": "tool", "tool_call_id": "toolu_1", "content": "1"}])
    assert answer.choices[0].message.content == "done"
    assert upstream.received()[0].json()["messages"][1:] == [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}]}]


def test_sdk_error(sdk, upstream):
    import openai
    upstream.reset_to(answers(failure("invalid_request_error", "the words"), 400))
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="claude-test", messages=ASK["messages"])
    assert "the words" in str(caught.value)


def test_a_client_that_goes_away_stops_the_upstream(gateway, upstream):
    closed = []

    def endless(request, exchange):
        exchange.start_stream()
        exchange.chunk(b"".join([start(), *list(block(0, text(""), said("x")))[:2]]))
        closed.append(exchange.wait_for_close())

    upstream.reset_to(endless)
    with Connection(gateway.port) as connection:
        answer = connection.start_chat(STREAM)
        next(connection.pieces(answer))
    for _ in range(200):
        if closed:
            break
        import time
        time.sleep(0.05)
    assert closed == [True]
