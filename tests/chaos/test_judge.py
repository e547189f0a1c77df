"""The judge of a chaos run sees what it is there for: answers that are whole, and each way of not being so."""

import json

import pytest
from client import Answer, Connection
from judge import ANSWERED, ERROR, STREAM_ERROR, UNANSWERED, judge

NONCE, OTHER = "0123456789abcdef", "fedcba9876543210"


def token(place, number="p1", nonce=NONCE):
    return f"word~{number}.{nonce}.{place}.777~"


def plain(tokens, finish="stop"):
    message = {"message": {"role": "assistant", "content": " ".join(tokens)}, "finish_reason": finish}
    return answer(json.dumps({"choices": [message]}).encode(), "application/json")


def event(data):
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def chunk(text, finish=None):
    return event({"choices": [{"delta": {"content": text} if text else {}, "finish_reason": finish}]})


FINISH, DONE = chunk(None, "stop"), event(b"[DONE]")
FAILED = event({"error": {"message": "the worker was lost", "code": "worker_lost", "type": "server_error"}})


def stream(*events, whole=True):
    return answer(b"".join(events), "text/event-stream", whole)


def answer(body, content_type, whole=True, status=200):
    return Answer(status=status, content_type=content_type, body=bytearray(body), whole=whole, why="" if whole else "closed")


def outcome(got, tokens=3, is_stream=False):
    verdict = judge(got, "p1", tokens, is_stream)
    return verdict.outcome, bool(verdict.twice)


def test_whole_answers():
    assert outcome(plain(map(token, range(3)))) == (ANSWERED, False)
    events = [chunk(token(place)) for place in range(3)]
    assert outcome(stream(*events, FINISH, DONE), is_stream=True) == (ANSWERED, False)
    assert outcome(stream(b": waiting\n\n", *events, FINISH, DONE), is_stream=True) == (ANSWERED, False)


@pytest.mark.parametrize(
    "tokens",
    [
        [token(0), token(1), token(1)],
        [token(0), token(2), token(3)],
        [token(1), token(0), token(2)],
        [token(0), token(1, nonce=OTHER), token(2)],
        [token(0), token(1), token(0, nonce=OTHER), token(1, nonce=OTHER)],
    ],
    ids=["repeated", "left out", "out of order", "two calls", "begun anew"],
)
def test_twice(tokens):
    assert outcome(plain(tokens))[1]
    assert outcome(stream(*map(chunk, tokens), FINISH, DONE), is_stream=True)[1]
    assert outcome(stream(*map(chunk, tokens), FAILED), is_stream=True) == (STREAM_ERROR, True)


@pytest.mark.parametrize(
    "got",
    [
        Answer(why="nothing came"),
        plain(map(token, range(2))),
        plain([token(0), token(1), token(2, number="p2")]),
        plain(map(token, range(3)), finish="length"),
        answer(b'{"choices": [', "application/json"),
        answer(plain(map(token, range(3))).body, "application/json", whole=False),
        answer(b"<html>", "text/html", status=502),
        answer(b'{"error":{"message":"half', "application/json", whole=False, status=503),
    ],
    ids=["silence", "too short", "another's", "cut", "no JSON", "half", "foreign error", "half an error"],
)
def test_unanswered_plain(got):
    assert outcome(got)[0] == UNANSWERED


@pytest.mark.parametrize(
    "got",
    [
        stream(chunk(token(0)), chunk(token(1))),
        stream(chunk(token(0)), chunk(token(1)), chunk(token(2)), FINISH),
        stream(chunk(token(0)), chunk(token(1)), chunk(token(2)), FINISH, DONE, whole=False),
        stream(chunk(token(0)), chunk(token(1)), FINISH, DONE),
        stream(chunk(token(0)), b'data: {"choices"'),
        stream(FAILED, b"data: x"),
        stream(chunk(token(0)), chunk(token(1)), chunk(token(2)), FINISH, DONE, FAILED),
        plain(map(token, range(3))),
    ],
    ids=["silence", "no DONE", "no last chunk", "a token less", "half an event", "half behind error", "after DONE", "plain"],
)
def test_unanswered_stream(got):
    assert outcome(got, is_stream=True)[0] == UNANSWERED


def test_errors():
    error = answer(FAILED[6:].strip(), "application/json", status=503)
    assert outcome(error) == (ERROR, False)
    assert outcome(error, is_stream=True) == (ERROR, False)
    assert outcome(stream(chunk(token(0)), FAILED), is_stream=True) == (STREAM_ERROR, False)


def received(*pieces):
    """What a connection makes of these bytes."""
    connection = Connection()
    for piece in pieces:
        connection.data_received(piece)
    return connection.answer


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def test_framing_is_read_at_every_split():
    raw = HEAD + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    for at in range(len(raw)):
        got = received(raw[:at], raw[at:])
        assert got.whole and bytes(got.body) == b"hello world"
    got = received(b"HTTP/1.1 503 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\n", b"o", b"k")
    assert got.whole and got.closes and got.status == 503 and bytes(got.body) == b"ok"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc",
        HEAD + b"2\r\nabc\r\n",
        HEAD + b"x\r\n",
        HEAD + b"0\r\n\r\nmore",
    ],
)
def test_what_is_no_http_is_no_answer(raw):
    connection = Connection()
    connection.close = lambda: None
    connection.data_received(raw)
    assert "malformed" in connection.answer.why
