"""What a provider may do wrong: each fault has its documented status, or ends a begun stream with an error
event; nothing hangs, and the next request is served."""

import json
import socket
import ssl
import subprocess
import threading
import time

import pytest

from harness.gateway import target
from harness.http import Closed, Connection, chat_once, sse_events
from harness.process import free_port
from harness.upstream import DONE, chunk_event, head

GOOD = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**GOOD, "stream": True}
SECRET = "sk-upstream-secret-0123456789abcdef"


def error_body(message, code=None):
    return {"error": {"message": message, "type": "some_type", "param": None, "code": code}}


# status of the provider: status, type and code for the client
STATUSES = {
    400: (400, "invalid_request_error", "invalid_request"),
    401: (502, "upstream_error", "upstream_auth_error"),
    403: (502, "upstream_error", "upstream_auth_error"),
    404: (404, "invalid_request_error", "model_not_found"),
    408: (504, "upstream_error", "upstream_timeout"),
    413: (413, "invalid_request_error", "request_too_large"),
    422: (422, "invalid_request_error", "invalid_request"),
    429: (429, "rate_limit_error", "rate_limit_exceeded"),
    500: (502, "upstream_error", "upstream_error"),
    502: (502, "upstream_error", "upstream_error"),
    503: (502, "upstream_error", "upstream_error"),
    504: (504, "upstream_error", "upstream_timeout"),
    529: (502, "upstream_error", "upstream_error"),
    418: (502, "upstream_error", "upstream_error"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("status", STATUSES)
def test_status(connect, upstream, status, stream):
    upstream.reset_to(lambda request, exchange: exchange.json(error_body("details of the provider"), status))
    connection = connect()
    answer = connection.chat(STREAM if stream else GOOD)
    assert (answer.status, answer.error["type"], answer.error["code"]) == STATUSES[status]
    # Only what is about the caller's own request is passed on.
    assert ("details of the provider" in answer.error["message"]) == (status in (400, 422))
    upstream.reset_to(lambda request, exchange: exchange.json({"object": "chat.completion", "choices": []}))
    assert connection.chat(GOOD).status == 200


def test_retry_after_is_passed_on(start_gateway, upstream):
    """On a gateway of its own: the credential rests for that time."""
    gateway = start_gateway([target(upstream.url)])
    upstream.reset_to(lambda request, exchange: exchange.json(error_body("slow down"), 429, [("retry-after", "7")]))
    answer = chat_once(gateway.port, GOOD)
    assert (answer.status, answer.header("retry-after")) == (429, "7")


def test_a_quoted_secret_is_not_shown(connect, upstream, gateway):
    """A provider that quotes the key it was sent does not leak it, whatever the status."""
    connection = connect()
    for status in (400, 401, 422, 500):
        upstream.reset_to(lambda request, exchange: exchange.json(error_body(f"bad key {SECRET}"), status))
        answer = connection.chat(GOOD)
        assert SECRET not in str(answer.headers) and SECRET.encode() not in answer.body
    assert SECRET not in gateway.log()


def test_what_looks_like_a_secret_is_not_shown(connect, upstream, gateway):
    """Nor one that the gateway does not know: a proxy's key, a part of ours, in plain words or in escapes."""
    connection = connect()
    other = "sk-proj-AbCdEfGhIjKlMnOpQrStUvWx"
    for status in (400, 401, 500):
        upstream.reset_to(lambda request, exchange: exchange.json(error_body(f"bad key {other}"), status))
        answer = connection.chat(GOOD)
        assert other.encode() not in answer.body
    event = b"data: " + json.dumps(error_body(f"bad key {other}")).replace("-", "\\u002d").encode() + b"\n\n"
    upstream.reset_to(lambda request, exchange: (exchange.start_stream(), exchange.chunk(event), exchange.end_stream()))
    assert other.encode() not in connection.chat(GOOD | {"stream": True}).body

    def is_logged():  # only so many lines of one event in a second, and other tests had theirs
        upstream.reset_to(lambda request, exchange: exchange.json(error_body(f"bad key {other}"), 400))
        connection.chat(GOOD)
        return "bad key [REDACTED]" in gateway.log()

    gateway.wait_until(is_logged, "the provider's sentence in the log")
    assert other not in gateway.log()


def test_redirects_are_not_followed(connect, upstream):
    location = [("location", upstream.url + "/elsewhere")]
    upstream.reset_to(lambda request, exchange: exchange.json({}, 307, location))
    answer = connect().chat(GOOD)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert len(upstream.received()) == 1


def send_raw(data, then=None):
    def handler(request, exchange):
        exchange.send(data)
        if then == "reset":
            exchange.reset()
        else:
            exchange.cut()

    return handler


LENGTH_1000 = head(200, [("content-type", "application/json"), ("content-length", 1000)])
CHUNKED_JSON = head(200, [("content-type", "application/json"), ("transfer-encoding", "chunked")])
BROKEN = {
    "closes at once": (b"", None),
    "resets at once": (b"", "reset"),
    "half a status line": (b"HTTP/1.1 20", None),
    "half a head": (b"HTTP/1.1 200 OK\r\ncontent-type: appl", None),
    "garbage for a head": (b"\x00\x01\x02garbage\xff\xfe" * 20, None),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", None),
    "no body of 1000": (LENGTH_1000, None),
    "half a body": (LENGTH_1000 + b'{"choices":[', None),
    "half a body, reset": (LENGTH_1000 + b'{"choices":[', "reset"),
    "half a chunk": (CHUNKED_JSON + b"10\r\n{}", None),
    "no last chunk": (CHUNKED_JSON + b"2\r\n{}\r\n", None),
    "garbage for a chunk": (CHUNKED_JSON + b"zz\r\n{}\r\n", None),
    "a body that is no JSON": (head(200, [("content-type", "application/json"), ("content-length", 6)]) + b"<html>", None),
    "a web page": (head(200, [("content-type", "text/html"), ("content-length", 6)]) + b"<html>", None),
    "huge header": (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 2_000_000, None),
}


@pytest.mark.parametrize("data, then", BROKEN.values(), ids=BROKEN.keys())
def test_broken_plain_answer(connect, upstream, data, then):
    """An answer that has not begun for the client becomes a 502."""
    upstream.reset_to(send_raw(data, then))
    connection = connect()
    answer = connection.chat(GOOD)
    assert answer.status == 502, answer
    assert answer.error["type"] == "upstream_error"
    assert answer.error["code"] in ("upstream_cut", "upstream_bad_answer", "upstream_unreachable", "upstream_error")
    upstream.reset_to(lambda request, exchange: exchange.json({"object": "chat.completion", "choices": []}))
    assert connection.chat(GOOD).status == 200


STREAM_HEAD = head(200, [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")])
STREAM_HEAD_PLAIN = head(200, [("content-type", "text/event-stream")])


def as_chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


CUT_STREAMS = {
    "cut between events": (STREAM_HEAD + as_chunk(chunk_event("a") + chunk_event("b")), None),
    "cut inside an event": (STREAM_HEAD + as_chunk(chunk_event("a") + chunk_event("b") + b'data: {"cho'), None),
    "reset": (STREAM_HEAD + as_chunk(chunk_event("a") + chunk_event("b")), "reset"),
    "ends politely without its marker": (STREAM_HEAD + as_chunk(chunk_event("a") + chunk_event("b")) + b"0\r\n\r\n", None),
    "closes without its marker": (STREAM_HEAD_PLAIN + chunk_event("a") + chunk_event("b"), None),
    "garbage for a chunk": (STREAM_HEAD + as_chunk(chunk_event("a") + chunk_event("b")) + b"zz\r\n", None),
}


@pytest.mark.parametrize("data, then", CUT_STREAMS.values(), ids=CUT_STREAMS.keys())
def test_cut_stream(connect, upstream, data, then):
    """A begun stream ends with an error event: no silence, no [DONE]."""
    def handler(request, exchange):
        exchange.send(data)
        time.sleep(0.2)  # what was sent arrives before the reset does
        if then == "reset":
            exchange.reset()
        else:
            exchange.cut()

    upstream.reset_to(handler)
    connection = connect()
    answer = connection.chat(STREAM)
    assert answer.status == 200
    events = sse_events(answer.body)
    assert [json.loads(event)["choices"][0]["delta"]["content"] for event in events[:2]] == ["a", "b"]
    assert len(events) == 3, events
    assert json.loads(events[2])["error"]["code"] == "upstream_cut"
    assert b"[DONE]" not in answer.body
    assert answer.body.endswith(b"\n\n")


EMPTY_STREAMS = {
    "nothing": STREAM_HEAD,
    "polite end": STREAM_HEAD + b"0\r\n\r\n",
    "half an event": STREAM_HEAD + as_chunk(b'data: {"choices":'),
    "no stream at all": head(200, [("content-type", "text/html"), ("content-length", 6)]) + b"<html>",
}


@pytest.mark.parametrize("data", EMPTY_STREAMS.values(), ids=EMPTY_STREAMS.keys())
def test_stream_that_never_began(connect, upstream, data):
    """Headers without content have not begun: the client gets a plain status."""
    upstream.reset_to(send_raw(data))
    answer = connect().chat(STREAM)
    assert answer.status == 502, answer
    assert answer.error["type"] == "upstream_error"


def test_stream_whose_first_event_is_an_error(connect, upstream):
    """It has not begun either."""
    event = b"data: " + json.dumps(error_body("overloaded", "overloaded")).encode() + b"\n\n"
    upstream.reset_to(lambda request, exchange: exchange.stream([event]))
    answer = connect().chat(STREAM)
    assert answer.status == 502, answer


def test_error_event_inside_a_stream(connect, upstream):
    event = b"data: " + json.dumps(error_body("overloaded", "overloaded")).encode() + b"\n\n"
    upstream.reset_to(lambda request, exchange: exchange.stream([chunk_event("a"), event]))
    answer = connect().chat(STREAM)
    assert answer.status == 200
    events = sse_events(answer.body)
    assert len(events) == 2
    assert "error" in json.loads(events[1])
    assert b"[DONE]" not in answer.body


def test_plain_answer_to_a_stream_request(connect, upstream):
    """Some providers answer JSON although a stream was asked for: a failure that says so, never a silent end."""
    upstream.reset_to(lambda request, exchange: exchange.json({"object": "chat.completion", "choices": []}))
    answer = connect().chat(STREAM)
    assert answer.status in (200, 502)
    if answer.status == 502:
        assert answer.error["code"] == "upstream_bad_answer"
    else:
        assert answer.json()["object"] == "chat.completion"


def test_connection_refused(start_gateway, upstream):
    gateway = start_gateway([target(f"http://127.0.0.1:{free_port()}")])
    for body in (GOOD, STREAM):
        answer = chat_once(gateway.port, body)
        assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")


def test_unknown_host(start_gateway, upstream):
    gateway = start_gateway([target("http://no-such-host.invalid")])
    answer = chat_once(gateway.port, GOOD)
    assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")


def serve_tls(certificate, key):
    """An HTTPS provider on a free port: answers one chat completion per connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(sock, server_side=True) as secure:
                    secure.recv(65536)
                    body = b'{"object":"chat.completion","choices":[]}'
                    secure.sendall(head(200, [("content-type", "application/json"), ("content-length", len(body)),
                                              ("connection", "close")]) + body)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    return listener


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed one for localhost: nobody trusts it unless told to."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", directory / "key.pem", "-out", directory / "cert.pem", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   check=True, capture_output=True)
    return directory / "cert.pem", directory / "key.pem"


def test_tls_is_verified(start_gateway, upstream, certificate):
    """An unknown certificate is refused; the log says which host, why, and which setting would change it."""
    listener = serve_tls(*certificate)
    gateway = start_gateway([target(f"https://localhost:{listener.getsockname()[1]}")])
    answer = chat_once(gateway.port, GOOD)
    assert (answer.status, answer.error["code"]) == (502, "upstream_tls_error")
    assert "certificate" not in answer.error["message"], "details are for the operator"
    gateway.wait_until(lambda: "ca_file" in gateway.log(), "logged")
    assert "localhost" in gateway.log() and "certificate" in gateway.log()
    listener.close()


def test_tls_with_a_certificate_of_ones_own(start_gateway, upstream, certificate):
    listener = serve_tls(*certificate)
    gateway = start_gateway([target(f"https://localhost:{listener.getsockname()[1]}")],
                            config={"upstream": {"ca_file": str(certificate[0])}})
    assert chat_once(gateway.port, GOOD).status == 200
    listener.close()


def test_tls_for_another_host(start_gateway, upstream, certificate):
    """Trusted, but made out to another name."""
    listener = serve_tls(*certificate)
    gateway = start_gateway([target(f"https://127.0.0.1:{listener.getsockname()[1]}")],
                            config={"upstream": {"ca_file": str(certificate[0])}})
    answer = chat_once(gateway.port, GOOD)
    assert (answer.status, answer.error["code"]) == (502, "upstream_tls_error")
    listener.close()


def test_no_tls_where_tls_was_expected(start_gateway, upstream):
    """A plain HTTP server behind an https URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        sock, _ = listener.accept()
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
        sock.close()

    threading.Thread(target=serve, daemon=True).start()
    gateway = start_gateway([target(f"https://127.0.0.1:{listener.getsockname()[1]}")])
    answer = chat_once(gateway.port, GOOD)
    assert (answer.status, answer.error["code"]) == (502, "upstream_tls_error")
    listener.close()


def test_a_kept_connection_that_died_is_not_an_error(connect, upstream):
    """The provider closes idle connections; the next request goes out on a new one."""
    def answer_and_close(request, exchange):
        exchange.json({"object": "chat.completion", "choices": []})
        exchange.cut()

    upstream.reset_to(answer_and_close)
    connection = connect()
    for _ in range(30):
        assert connection.chat(GOOD).status == 200
    assert len(upstream.received()) == 30


# Timeouts: the configured time, not a hang. Bounds are generous; the point is that an end comes at all.

@pytest.fixture
def impatient(start_gateway, upstream):
    return start_gateway([target(upstream.url, timeouts={"connect": "500ms", "first_byte": "500ms", "idle": "700ms"})])


def test_no_first_byte(impatient, upstream):
    upstream.reset_to(lambda request, exchange: exchange.wait_for_close())
    for body in (GOOD, STREAM):
        started = time.monotonic()
        answer = chat_once(impatient.port, body)
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        assert 0.4 < time.monotonic() - started < 10


def test_stream_that_falls_silent(impatient, upstream):
    def silent(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        exchange.wait_for_close()

    upstream.reset_to(silent)
    answer = chat_once(impatient.port, STREAM)
    events = sse_events(answer.body)
    assert json.loads(events[-1])["error"]["code"] == "stream_timeout"
    assert b"[DONE]" not in answer.body


def test_slow_but_alive_stream(impatient, upstream):
    """Longer than every timeout in all, but never silent for long."""
    def slow(request, exchange):
        exchange.start_stream()
        for number in range(6):
            time.sleep(0.3)
            exchange.chunk(chunk_event(str(number)))
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(slow)
    answer = chat_once(impatient.port, STREAM)
    assert answer.body == b"".join(chunk_event(str(number)) for number in range(6)) + DONE


def test_connect_timeout(start_gateway, upstream):
    """A listener whose queue is full accepts nothing more and refuses nothing."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    fillers = []
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
        fillers.append(filler)
    gateway = start_gateway([target(f"http://127.0.0.1:{port}", timeouts={"connect": "500ms"})])
    answer = chat_once(gateway.port, GOOD)
    assert (answer.status, answer.error["code"]) in ((504, "upstream_timeout"), (502, "upstream_unreachable"))
    for sock in [listener, *fillers]:
        sock.close()


def test_request_timeout(start_gateway, upstream):
    """The whole request's time: a plain answer that trickles is given up."""
    def trickle(request, exchange):
        exchange.send(LENGTH_1000)
        for _ in range(1000):
            exchange.send(b" ")
            time.sleep(0.05)

    upstream.reset_to(trickle)
    gateway = start_gateway([target(upstream.url)], config={"request_timeout": "1s"})
    started = time.monotonic()
    answer = chat_once(gateway.port, GOOD)
    assert answer.status == 504
    assert answer.error["code"] in ("gateway_timeout", "upstream_timeout")
    assert time.monotonic() - started < 10


def test_keepalive_comments(start_gateway, upstream):
    """A silent provider: the client hears a comment, also before the first token; the events are untouched."""
    go_on = threading.Event()

    def late(request, exchange):
        assert go_on.wait(20)
        exchange.stream([chunk_event("a"), DONE])

    upstream.reset_to(late)
    gateway = start_gateway([target(upstream.url)], config={"sse_keepalive": "200ms"})
    with Connection(gateway.port) as connection:
        answer = connection.start_chat(STREAM)
        pieces = connection.pieces(answer)
        assert next(pieces).startswith(b":")
        assert next(pieces).startswith(b":")
        go_on.set()
        rest = b"".join(pieces)
    assert rest.endswith(chunk_event("a") + DONE)


def test_failure_after_a_comment_is_an_error_event(start_gateway, upstream):
    """The status has gone out with the comment, so the failure comes as an event."""
    def late_failure(request, exchange):
        time.sleep(0.7)
        exchange.json(error_body("broken"), 500)

    upstream.reset_to(late_failure)
    gateway = start_gateway([target(upstream.url)], config={"sse_keepalive": "200ms"})
    answer = chat_once(gateway.port, STREAM)
    assert answer.status == 200
    events = sse_events(answer.body)
    assert len(events) == 1 and json.loads(events[0])["error"]["code"] == "upstream_error"
    assert b"[DONE]" not in answer.body


def test_large_answer_cut_in_the_middle(connect, upstream):
    """Beyond 1 MiB a plain answer is streamed: a cut shows as a body shorter than its length, never as a whole one."""
    size = 4 << 20
    half = head(200, [("content-type", "application/json"), ("content-length", size)]) + b'{"a":"' + b"x" * (3 << 20)
    upstream.reset_to(send_raw(half))
    connection = connect()
    try:
        answer = connection.chat(GOOD)
    except (Closed, ConnectionError):
        return
    assert answer.status == 502, "held until then, so an error could still be said"
