"""What a client may send that is not a chat request: refused in the OpenAI error shape with the field named,
nothing reaches the provider, and the next request is served."""

import json

import pytest

from harness.http import Connection, build_request
from harness.process import memory_bound
from harness.upstream import completion

CHAT = "/v1/chat/completions"
GOOD = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}


def with_field(**fields):
    return json.dumps({**GOOD, **fields}).encode()


def message(**fields):
    return with_field(messages=[fields])


# name: body, and the field that the answer has to name (None: the document itself)
BAD_BODIES = {
    "empty": (b"", None),
    "blank": (b"  \n", None),
    "not JSON": (b"hello", None),
    "cut": (b'{"model":"test-model","messages":[{"role":"user"', None),
    "two documents": (json.dumps(GOOD).encode() * 2, None),
    "junk behind": (json.dumps(GOOD).encode() + b"x", None),
    "array": (b"[1,2]", None),
    "string": (b'"model"', None),
    "number": (b"1", None),
    "null": (b"null", None),
    "trailing comma": (b'{"model":"test-model","messages":[{"role":"user","content":"x"}],}', None),
    "comment": (b'{"model":"test-model",/* x */"messages":[{"role":"user","content":"x"}]}', None),
    "single quotes": (b"{'model':'test-model'}", None),
    "NaN": (b'{"model":"test-model","temperature":NaN,"messages":[{"role":"user","content":"x"}]}', None),
    "leading zero": (b'{"model":"test-model","seed":007,"messages":[{"role":"user","content":"x"}]}', None),
    "invalid UTF-8": (b'{"model":"test-model","messages":[{"role":"user","content":"\xff\xfe"}]}', None),
    "overlong UTF-8": (b'{"model":"test-model","messages":[{"role":"user","content":"\xc0\xaf"}]}', None),
    "surrogate in UTF-8": (b'{"model":"test-model","messages":[{"role":"user","content":"\xed\xa0\x80"}]}', None),
    "raw NUL": (b'{"model":"test-model","messages":[{"role":"user","content":"a\0b"}]}', None),
    "escaped NUL": (b'{"model":"test-model","messages":[{"role":"user","content":"a\\u0000b"}]}', None),
    "raw newline in a string": (b'{"model":"test-model","messages":[{"role":"user","content":"a\nb"}]}', None),
    "bad escape": (b'{"model":"test-model","messages":[{"role":"user","content":"\\x41"}]}', None),
    "depth 10,000": (b'{"model":"test-model","messages":' + b"[" * 10_000 + b"]" * 10_000 + b"}", None),
    "depth 10,000 of objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, None),
    "byte order mark": (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), None),
    "duplicate model": (b'{"model":"a","model":"test-model","messages":[{"role":"user","content":"x"}]}', "model"),
    "duplicate stream": (b'{"model":"test-model","stream":false,"stream":true,"messages":[{"role":"user","content":"x"}]}', "stream"),
    "duplicate by escape": (b'{"model":"a","mod\\u0065l":"test-model","messages":[{"role":"user","content":"x"}]}', "model"),
    "no model": (b'{"messages":[{"role":"user","content":"x"}]}', "model"),
    "empty model": (with_field(model=""), "model"),
    "model null": (with_field(model=None), "model"),
    "model number": (with_field(model=7), "model"),
    "model list": (with_field(model=["a"]), "model"),
    "no messages": (b'{"model":"test-model"}', "messages"),
    "empty messages": (with_field(messages=[]), "messages"),
    "messages string": (with_field(messages="hi"), "messages"),
    "messages null": (with_field(messages=None), "messages"),
    "messages object": (with_field(messages={"role": "user"}), "messages"),
    "message not an object": (with_field(messages=["hi"]), "messages"),
    "stream string": (with_field(stream="true"), "stream"),
    "stream number": (with_field(stream=1), "stream"),
    "stream_options string": (with_field(stream=True, stream_options="x"), "stream_options"),
    "temperature too high": (with_field(temperature=2.1), "temperature"),
    "temperature negative": (with_field(temperature=-0.1), "temperature"),
    "temperature string": (with_field(temperature="warm"), "temperature"),
    "top_p too high": (with_field(top_p=1.5), "top_p"),
    "top_p negative": (with_field(top_p=-1), "top_p"),
    "max_tokens zero": (with_field(max_tokens=0), "max_tokens"),
    "max_tokens negative": (with_field(max_tokens=-5), "max_tokens"),
    "max_tokens fraction": (with_field(max_tokens=1.5), "max_tokens"),
    "max_tokens string": (with_field(max_tokens="10"), "max_tokens"),
    "max_completion_tokens zero": (with_field(max_completion_tokens=0), "max_completion_tokens"),
    "presence_penalty": (with_field(presence_penalty=2.5), "presence_penalty"),
    "frequency_penalty": (with_field(frequency_penalty=-2.5), "frequency_penalty"),
    "n zero": (with_field(n=0), "n"),
    "stop of numbers": (with_field(stop=[1, 2]), "stop"),
    "stop object": (with_field(stop={}), "stop"),
}


@pytest.mark.parametrize("body, field", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_bad_body(connect, upstream, body, field):
    connection = connect()
    answer = connection.chat(body)
    assert answer.status == 400, answer
    assert answer.header("content-type").startswith("application/json")
    error = answer.error
    assert error["type"] == "invalid_request_error"
    assert error["code"] == "invalid_request"
    assert isinstance(error["message"], str) and error["message"]
    if field is None:
        assert error["param"] is None, error
    else:
        assert error["param"] is not None and error["param"].split("[")[0].split(".")[0] == field, error
    assert upstream.received() == []
    # The connection is in step: the next request on it is served.
    assert connection.chat(GOOD).status == 200


GOOD_BODIES = {
    "null options": with_field(temperature=None, stop=None, max_tokens=None, stream=None),
    "edges of ranges": with_field(temperature=2, top_p=0, presence_penalty=-2, frequency_penalty=2, n=1),
    "stop string": with_field(stop="x"),
    "stop list": with_field(stop=["x", "y"]),
    "parts": message(role="user", content=[{"type": "text", "text": "x"}]),
    "content null beside tool calls": message(role="assistant", content=None, tool_calls=[]),
    "escaped key": b'{"mod\\u0065l":"test-model","messages":[{"role":"user","content":"x"}]}',
    "escaped model": b'{"model":"test\\u002dmodel","messages":[{"role":"user","content":"x"}]}',
    "leading blanks": b" \r\n\t" + json.dumps(GOOD).encode() + b"\n\n",
    "duplicate inside": b'{"model":"test-model","messages":[{"role":"user","content":"x"}],"metadata":{"a":1,"a":2}}',
    "moderate depth": with_field(extra=json.loads("[" * 50 + "]" * 50)),
}


@pytest.mark.parametrize("body", GOOD_BODIES.values(), ids=GOOD_BODIES.keys())
def test_good_body(connect, upstream, body):
    answer = connect().chat(body)
    assert answer.status == 200, answer
    assert upstream.received()[0].body == body


def test_unknown_model(connect, upstream):
    connection = connect()
    for stream in (False, True):
        answer = connection.chat({**GOOD, "model": "no-such-model", "stream": stream})
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")
        assert answer.error["type"] == "invalid_request_error"
    assert upstream.received() == []
    assert connection.chat(GOOD).status == 200


def test_declared_length_over_the_cap(connect, upstream):
    """Known from the head: refused before a byte of the body was sent."""
    connection = connect()
    connection.send(build_request("POST", CHAT, None, {"Content-Type": "application/json",
                                                       "Content-Length": str(100 << 20)}))
    answer = connection.read_answer()
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert upstream.received() == []


def test_a_hundred_megabytes(gateway, upstream):
    """A client that sends it all the same gets its 413, and the gateway keeps none of it."""
    before = gateway.resident_bytes()
    piece = b"x" * (1 << 20)
    with Connection(gateway.port) as connection:
        connection.send(build_request("POST", CHAT, None, {"Content-Type": "application/json",
                                                           "Content-Length": str(100 * len(piece))}))
        try:
            for _ in range(100):
                connection.send(piece)
        except ConnectionError:
            pass
        assert connection.read_answer().status == 413
    assert gateway.resident_bytes() - before < memory_bound(32 << 20)
    assert upstream.received() == []


def test_chunked_over_the_cap(gateway, upstream):
    """Not known from the head: refused as soon as it is too long."""
    before = gateway.resident_bytes()
    piece = b"x" * (1 << 16)
    with Connection(gateway.port) as connection:
        connection.send(build_request("POST", CHAT, None, {"Content-Type": "application/json",
                                                           "Transfer-Encoding": "chunked"}))
        try:
            for _ in range(100 * 16):
                connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        except ConnectionError:
            pass
        answer = connection.read_answer()
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert gateway.resident_bytes() - before < memory_bound(64 << 20)
    assert upstream.received() == []


def test_bad_requests_do_not_disturb_others(gateway, upstream):
    """One connection is served throughout while others send rubbish."""
    upstream.reset_to(lambda request, exchange: exchange.json(completion()))
    with Connection(gateway.port) as good:
        for body, _ in BAD_BODIES.values():
            with Connection(gateway.port) as bad:
                bad.send(build_request("POST", CHAT, body))
                assert good.chat(GOOD).status == 200
                assert bad.read_answer().status == 400
