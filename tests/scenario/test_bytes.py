"""Bytes are carried, not reprinted: requests and answers reach the other side as they were written."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.gateway import target
from harness.http import Connection, chat_once
from harness.upstream import DONE, chunk_event, completion, usage_event

# Nothing here survives a parse and a print: spelling of numbers, order of keys, escapes, blanks, unknown fields.
ODD_REQUEST = (
    b'{ "zeta":1.0,"model" : "test-model",\n\t"seed":12345678901234567890 , "alpha":-0.0,"e":1E+2,"tiny":1e-7,'
    b'"messages":[{"role":"user","content":"caf\\u00e9 \\/ \xc3\xa9 \\ud83d\\ude00"}],"unknown":{"b":[1.50,true,null],"a":{}},'
    b'"temperature":0.70}'
)
ODD_ANSWER = (
    b'{"id":"x","usage":{"total_tokens":5,"prompt_tokens":3,"completion_tokens":2},"created":1700000000.0,\n'
    b' "choices":[ {"message":{"content":"\\u00e9\\/","role":"assistant"},"finish_reason":"stop","index":0} ],'
    b'"big":12345678901234567890,"system_fingerprint":null,"model":"another-name","object":"chat.completion"}\n'
)


def test_request_and_answer_byte_for_byte(connect, upstream):
    upstream.reset_to(lambda request, exchange: exchange.json(ODD_ANSWER))
    answer = connect().chat(ODD_REQUEST)
    assert answer.status == 200
    assert answer.body == ODD_ANSWER
    assert upstream.received()[0].body == ODD_REQUEST


def test_names_of_parameters_are_the_clients_own(connect, start_gateway, upstream):
    """A server of OpenAI's API that is not OpenAI's gets max_tokens as it was written; unless it is told."""
    body = ODD_REQUEST.replace(b'"zeta"', b'"max_tokens" : 5.0,"zeta"')
    assert connect().chat(body).status == 200
    assert upstream.received()[0].body == body
    gateway = start_gateway([target(upstream.url, rename_params="always")])
    upstream.reset_to(lambda request, exchange: exchange.json(completion()))
    with Connection(gateway.port) as connection:
        assert connection.chat(body).status == 200
    assert upstream.received()[0].body == body.replace(b"max_tokens", b"max_completion_tokens")


@pytest.mark.parametrize("size", [1, 1000, 65536, 1 << 20, 3 << 20])
def test_answers_of_every_size(connect, upstream, size):
    """Held whole up to 1 MiB, streamed beyond; the bytes are the same."""
    body = json.dumps(completion("x" * size)).encode()
    upstream.reset_to(lambda request, exchange: exchange.json(body))
    connection = connect()
    for _ in range(2):
        assert connection.chat(ODD_REQUEST).body == body


def test_request_of_many_megabytes(connect, upstream):
    body = json.dumps({"model": "test-model", "messages": [{"role": "user", "content": "x" * 5_000_000}]}).encode()
    assert connect().chat(body).status == 200
    assert upstream.received()[0].body == body


def test_chunked_plain_answer_byte_for_byte(connect, upstream):
    def in_pieces(request, exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        for at in range(len(ODD_ANSWER)):
            exchange.chunk(ODD_ANSWER[at : at + 1])
        exchange.end_stream()

    upstream.reset_to(in_pieces)
    assert connect().chat(ODD_REQUEST).body == ODD_ANSWER


def stream_request(**more):
    return {"model": "test-model", "stream": True, "messages": [{"role": "user", "content": "x"}], **more}


STREAM = (
    b": a comment first\n\n"
    + chunk_event("hel")
    + b"event: odd\r\nid: 7\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"lo\"},\"index\":0}],\"big\":12345678901234567890}\r\n\r\n"
    + b"data: {\"choices\":[{\"delta\":{\"content\":\ndata: \"two lines\"},\"index\":0}]}\n\n"
    + chunk_event(None, "stop")
    + usage_event()
    + DONE
)


def answer_stream(pieces):
    return lambda request, exchange: exchange.stream(pieces)


def test_stream_byte_by_byte(connect, upstream):
    upstream.reset_to(answer_stream([STREAM[at : at + 1] for at in range(len(STREAM))]))
    answer = connect().chat(stream_request(stream_options={"include_usage": True}))
    assert answer.status == 200
    assert answer.header("content-type").startswith("text/event-stream")
    assert answer.body == STREAM


def test_stream_split_at_every_position(gateway, upstream):
    """The piece boundary comes with the request, so that all positions run side by side."""
    def split(request, exchange):
        position = request.json()["position"]
        exchange.stream([piece for piece in (STREAM[:position], STREAM[position:]) if piece])

    upstream.reset_to(split)

    def one(position):
        body = stream_request(stream_options={"include_usage": True}, position=position)
        return chat_once(gateway.port, body).body

    with ThreadPoolExecutor(8) as pool:
        for position, body in enumerate(pool.map(one, range(len(STREAM) + 1))):
            assert body == STREAM, position


def test_usage_is_asked_for_and_withheld(connect, upstream):
    """A client that did not ask for usage gets none; the provider is asked all the same, by one splice."""
    body = json.dumps(stream_request()).encode()
    answer = connect().chat(body)
    assert answer.body == b"".join([chunk_event("hel"), chunk_event("lo"), chunk_event(None, "stop"), DONE])
    sent = upstream.received()[0]
    assert sent.json() == {**stream_request(), "stream_options": {"include_usage": True}}
    without_splice = sent.body
    for splice in (b',"stream_options":{"include_usage":true}', b'"stream_options":{"include_usage":true},'):
        without_splice = without_splice.replace(splice, b"", 1)
    assert without_splice == body


def test_usage_reaches_the_client_that_asked(connect, upstream):
    answer = connect().chat(stream_request(stream_options={"include_usage": True}))
    assert usage_event() in answer.body


def test_other_stream_options_are_kept(connect, upstream):
    assert connect().chat(stream_request(stream_options={"include_obfuscation": False})).status == 200
    assert upstream.received()[0].json()["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_usage_beside_content_is_not_withheld(connect, upstream):
    """Only an event without choices is taken out."""
    event = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"total_tokens":5}}\n\n'
    upstream.reset_to(answer_stream([chunk_event("a"), event, DONE]))
    assert connect().chat(stream_request()).body == chunk_event("a") + event + DONE


def test_the_first_event_does_not_wait_for_the_second(connect, upstream):
    import threading

    go_on = threading.Event()

    def wait_between(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("first"))
        assert go_on.wait(20)
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(wait_between)
    connection = connect()
    answer = connection.start_chat(stream_request())
    pieces = connection.pieces(answer)
    assert next(pieces) == chunk_event("first")
    go_on.set()
    assert b"".join(pieces) == DONE


def test_stream_headers(connect):
    connection = connect()
    answer = connection.chat(stream_request())
    assert answer.header("cache-control") == "no-cache, no-transform"
    assert answer.header("x-accel-buffering") == "no"
    assert answer.header("content-type").startswith("text/event-stream")
    assert answer.header("x-dynabus-target") == "upstream"
    assert connection.chat(stream_request()).status == 200, "the connection lives on after a stream"


def test_many_streams_on_one_connection(gateway):
    with Connection(gateway.port) as connection:
        for _ in range(50):
            assert connection.chat(stream_request()).body.endswith(DONE)
