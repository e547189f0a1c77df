"""HTTP/1.1 as it may arrive: split anywhere, pipelined, chunked; and framing that could be read two ways."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.http import Connection, build_request
from harness.upstream import completion

CHAT = "/v1/chat/completions"


def chat_body(mark):
    return json.dumps({"model": "test-model", "messages": [{"role": "user", "content": mark}]}).encode()


def echo_mark(request, exchange):
    """The answer carries the request's own mark, so that answers cannot be mixed up."""
    exchange.json(completion(request.json()["messages"][0]["content"]))


def mark_of(answer):
    assert answer.status == 200, answer
    return answer.json()["choices"][0]["message"]["content"]


def test_two_posts_split_at_every_byte(gateway, upstream):
    """Two pipelined POSTs cut at any byte give exactly two answers in order and one upstream call each,
    while another client is served."""
    upstream.reset_to(echo_mark)
    total = len(build_request("POST", CHAT, chat_body("000-a")) + build_request("POST", CHAT, chat_body("000-b")))
    stop = threading.Event()
    served_meanwhile = []

    def other_client():
        with Connection(gateway.port) as connection:
            while not stop.is_set():
                served_meanwhile.append(mark_of(connection.chat(chat_body("other"))))

    def split_at(position):
        marks = f"{position:03}-a", f"{position:03}-b"
        data = b"".join(build_request("POST", CHAT, chat_body(mark)) for mark in marks)
        with Connection(gateway.port) as connection:
            connection.send(data[:position])
            # Long enough that the two pieces are read one by one, most of the time.
            threading.Event().wait(0.002)
            connection.send(data[position:])
            assert (mark_of(connection.read_answer()), mark_of(connection.read_answer())) == marks
            # Nothing more comes: a third request on the same connection gets its own answer.
            assert mark_of(connection.chat(chat_body("last"))) == "last"

    other = threading.Thread(target=other_client)
    other.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(split_at, range(1, total)))
    finally:
        stop.set()
        other.join()
    calls = [request.json()["messages"][0]["content"] for request in upstream.received()]
    for position in range(1, total):
        assert calls.count(f"{position:03}-a") == 1
        assert calls.count(f"{position:03}-b") == 1
    assert len(served_meanwhile) > 10
    assert calls.count("other") == len(served_meanwhile)


def test_many_pipelined_in_one_segment(connect, upstream):
    upstream.reset_to(echo_mark)
    marks = [f"m{number}" for number in range(50)]
    connection = connect()
    connection.send(b"".join(build_request("POST", CHAT, chat_body(mark)) for mark in marks))
    assert [mark_of(connection.read_answer()) for _ in marks] == marks
    assert len(upstream.received()) == len(marks)


def test_pipelined_stream_then_plain(connect, upstream):
    """The second answer starts where the first stream ended."""
    connection = connect()
    stream = json.dumps({"model": "test-model", "stream": True, "messages": [{"role": "user", "content": "x"}]})
    connection.send(build_request("POST", CHAT, stream.encode()) + build_request("POST", CHAT, chat_body("y")))
    first = connection.read_answer()
    assert first.status == 200 and first.body.endswith(b"data: [DONE]\n\n")
    assert connection.read_answer().json()["object"] == "chat.completion"


def chunked(body, size):
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_chunked_request_body(connect, upstream, size):
    body = chat_body("chunked")
    connection = connect()
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    for _ in range(2):  # and the connection is still in step afterwards
        connection.send(build_request("POST", CHAT, None, headers) + chunked(body, size))
        assert connection.read_answer().status == 200
    assert [request.body for request in upstream.received()] == [body, body]


def test_chunked_with_extensions_and_trailer(connect, upstream):
    body = chat_body("x")
    connection = connect()
    connection.send(build_request("POST", CHAT, None, {"Transfer-Encoding": "chunked",
                                                       "Content-Type": "application/json"}))
    connection.send(b"%x;name=value\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(body), body))
    assert connection.read_answer().status == 200
    assert connection.chat(body).status == 200


def test_expect_100_continue(connect):
    body = chat_body("x")
    connection = connect()
    connection.send(build_request("POST", CHAT, None, {"Content-Type": "application/json", "Expect": "100-continue",
                                                       "Content-Length": str(len(body))}))
    assert connection.read_head().status == 100
    connection.send(body)
    assert connection.read_answer().status == 200


def test_expect_is_not_answered_when_refused(connect):
    """A body that will be refused is not asked for."""
    connection = connect()
    connection.send(build_request("POST", CHAT, None, {"Content-Type": "application/json", "Expect": "100-continue",
                                                       "Content-Length": str(1 << 40)}))
    assert connection.read_head().status == 413


def test_other_expectation(connect):
    answer = connect().request("POST", CHAT, chat_body("x"), {"Expect": "miracles"})
    assert (answer.status, answer.error["code"]) == (417, "expectation_failed")


AMBIGUOUS = {
    "length and chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "the same length twice": b"Content-Length: 5\r\nContent-Length: 5\r\n",
    "list of lengths": b"Content-Length: 5, 5\r\n",
    "signed length": b"Content-Length: +5\r\n",
    "negative length": b"Content-Length: -5\r\n",
    "hexadecimal length": b"Content-Length: 0x5\r\n",
    "huge length": b"Content-Length: 99999999999999999999999\r\n",
    "blank before the colon": b"Content-Length : 5\r\n",
    "folded header": b"X-A: 1\r\n Content-Length: 5\r\n",
    "bare line feed": b"X-A: 1\nContent-Length: 5\r\n",
    "bare carriage return": b"X-A: 1\rContent-Length: 5\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "chunked not last": b"Transfer-Encoding: chunked, identity\r\n",
    "unknown coding": b"Transfer-Encoding: gzip\r\n",
    "coding in disguise": b"Transfer-Encoding: xchunked\r\n",
    "NUL in a value": b"X-A: a\0b\r\nContent-Length: 5\r\n",
}


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_framing_that_could_be_read_two_ways(connect, upstream, headers):
    """Refused, and the connection closes: what follows on it is never taken for a request."""
    connection = connect()
    smuggled = build_request("POST", CHAT, chat_body("smuggled"))
    connection.send(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n" + headers +
                    b"\r\n0\r\n\r\n" + smuggled)
    answer = connection.read_answer()
    assert answer.status in (400, 413, 501), answer
    assert connection.at_end()
    assert upstream.received() == []


BROKEN_CHUNKS = {
    "junk for the CRLF after a chunk": b"5\r\nhelloXX0\r\n\r\n",
    "size that is no number": b"zz\r\nhello\r\n0\r\n\r\n",
    "huge size": b"ffffffffffffffffff\r\nhello\r\n",
    "bare line feed after the size": b"5\nhello\r\n0\r\n\r\n",
    "negative size": b"-5\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS.keys())
def test_broken_chunks(connect, upstream, body):
    connection = connect()
    connection.send(build_request("POST", CHAT, None, {"Transfer-Encoding": "chunked",
                                                       "Content-Type": "application/json"}) + body)
    assert connection.read_answer().status in (400, 413)
    assert connection.at_end()
    assert upstream.received() == []


NOT_HTTP = {
    "words": b"hello there\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "no version": b"GET /health\r\n\r\n",
    "header without colon": b"GET /health HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
}


@pytest.mark.parametrize("data", NOT_HTTP.values(), ids=NOT_HTTP.keys())
def test_not_http(connect, data):
    connection = connect()
    connection.send(data)
    assert connection.read_answer().status == 400
    assert connection.at_end()


def test_version_not_supported(connect):
    connection = connect()
    connection.send(b"GET /health HTTP/2.0\r\nHost: h\r\n\r\n")
    assert connection.read_answer().status in (400, 505)
    assert connection.at_end()


def test_headers_too_large(connect):
    connection = connect()
    connection.send(build_request("GET", "/health", headers={"X-Long": "a" * 200_000}))
    answer = connection.read_answer()
    assert (answer.status, answer.error["code"]) == (431, "headers_too_large")
    assert connection.at_end()


def test_too_many_headers(connect):
    connection = connect()
    connection.send(build_request("GET", "/health", headers={f"X-{n}": "1" for n in range(500)}))
    assert connection.read_answer().status == 431
    assert connection.at_end()


def test_http_1_0(connect, upstream):
    connection = connect()
    body = chat_body("old")
    connection.send(b"POST %s HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                    % (CHAT.encode(), len(body), body))
    assert connection.read_answer().status == 200
    assert connection.at_end()


def test_stream_to_http_1_0_is_not_chunked(connect, upstream):
    connection = connect()
    body = json.dumps({"model": "test-model", "stream": True, "messages": [{"role": "user", "content": "x"}]}).encode()
    connection.send(b"POST %s HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                    % (CHAT.encode(), len(body), body))
    answer = connection.read_answer()
    assert answer.header("transfer-encoding") is None
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_connection_close_is_honoured(connect):
    connection = connect()
    answer = connection.request("GET", "/livez", headers={"Connection": "close"})
    assert answer.status == 200 and answer.header("connection") == "close"
    assert connection.at_end()
