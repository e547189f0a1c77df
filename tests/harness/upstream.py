"""A provider whose every byte the test decides: it parses the request, then the test's handler writes
whatever it wants to the socket. For faults and splits; load comes from `dynabus mock`."""

import json
import socket
import struct
import threading
import time


class Received:
    """A request as it arrived."""

    def __init__(self, method, path, headers, body):
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body

    def header(self, name):
        for key, value in self.headers:
            if key == name.lower():
                return value
        return None

    def json(self):
        return json.loads(self.body)


class Exchange:
    """The handler's side of one request."""

    def __init__(self, sock):
        self.socket = sock
        self.close_after = False

    def send(self, data):
        self.socket.sendall(data)

    def json(self, body, status=200, headers=()):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send(head(status, [("content-type", "application/json"), ("content-length", len(body)), *headers]) + body)

    def start_stream(self, headers=()):
        self.send(head(200, [("content-type", "text/event-stream"), ("transfer-encoding", "chunked"), *headers]))

    def chunk(self, data):
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end_stream(self):
        self.send(b"0\r\n\r\n")

    def stream(self, pieces):
        self.start_stream()
        for piece in pieces:
            self.chunk(piece)
        self.end_stream()

    def cut(self):
        self.close_after = True

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_after = True

    def wait_for_close(self, seconds=20):
        """True when the gateway closed the connection within that time."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except ConnectionError:
            return True
        except TimeoutError:
            return False


def head(status, headers):
    lines = [f"HTTP/1.1 {status} Text"] + [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def completion(text="hello", model="test-model", **extra):
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, **extra,
    }


def chunk_event(text, finish=None, model="test-model"):
    delta = {"content": text} if text is not None else {}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def usage_event(model="test-model"):
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": model,
            "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def answer_normally(request, exchange):
    if request.json().get("stream"):
        exchange.stream([chunk_event("hel"), chunk_event("lo"), chunk_event(None, "stop"), usage_event(), DONE])
    else:
        exchange.json(completion())


class Upstream:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.lock = threading.Lock()
        self.closing = False
        self.reset_to(answer_normally)
        threading.Thread(target=self._accept, daemon=True).start()

    def reset_to(self, handler):
        """From now on requests go to handler(request, exchange); what was received is forgotten."""
        with self.lock:
            self.handler = handler
            self.requests = []
            self.failures = []

    def received(self):
        with self.lock:
            return list(self.requests)

    def wait_received(self, count, seconds=20):
        deadline = time.monotonic() + seconds
        while len(self.received()) < count:
            assert time.monotonic() < deadline, f"{len(self.received())} of {count} requests arrived"
            time.sleep(0.01)
        return self.received()

    def close(self):
        self.closing = True
        self.listener.close()

    def _accept(self):
        while not self.closing:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pending = b""
        with sock:
            while not self.closing:
                try:
                    request, pending = read_request(sock, pending)
                except OSError:
                    return
                if request is None:
                    return
                with self.lock:
                    self.requests.append(request)
                    handler = self.handler
                exchange = Exchange(sock)
                try:
                    handler(request, exchange)
                except OSError:
                    return
                except Exception as error:
                    with self.lock:
                        self.failures.append(error)
                    raise
                if exchange.close_after:
                    return


def read_request(sock, pending):
    while b"\r\n\r\n" not in pending:
        data = sock.recv(65536)
        if not data:
            return None, b""
        pending += data
    raw_head, pending = pending.split(b"\r\n\r\n", 1)
    lines = raw_head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ", 2)
    headers = [(line.split(":", 1)[0].lower(), line.split(":", 1)[1].strip()) for line in lines[1:]]
    length = int(dict(headers).get("content-length", 0))
    while len(pending) < length:
        data = sock.recv(65536)
        if not data:
            return None, b""
        pending += data
    return Received(method, path, headers, pending[:length]), pending[length:]
