"""An HTTP/1.1 client that hides nothing: it sends the bytes it is given, in the pieces it is given, and shows
the answer as it came. For everything that a well-behaved library would not do."""

import json
import socket
import struct

TIMEOUT_SECONDS = 30


class Closed(ValueError):
    """The peer closed before the answer was complete."""


class Answer:
    def __init__(self, status, headers):
        self.status = status
        self.headers = headers  # (lower-case name, value) as they came
        self.body = b""

    def header(self, name, default=None):
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else default

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json()["error"]

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:500]!r}>"


def build_request(method, path, body=None, headers=None):
    """Bytes of a request. `headers` override the usual ones; None leaves one out."""
    fields = {"Host": "127.0.0.1"}
    if body is not None:
        fields["Content-Type"] = "application/json"
        fields["Content-Length"] = str(len(body))
    fields.update(headers or {})
    head = f"{method} {path} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return head.encode("latin-1") + b"\r\n" + (body or b"")


class Connection:
    def __init__(self, port, host="127.0.0.1", receive_buffer=None, timeout=TIMEOUT_SECONDS):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((host, port))
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _receive(self):
        data = self.socket.recv(65536)
        if not data:
            return False
        self.pending += data
        return True

    def _line(self):
        while b"\r\n" not in self.pending:
            if not self._receive():
                raise Closed(f"closed inside a line: {self.pending!r}")
        line, self.pending = self.pending.split(b"\r\n", 1)
        return line

    def _exactly(self, size):
        while len(self.pending) < size:
            if not self._receive():
                raise Closed(f"{size - len(self.pending)} of {size} bytes are missing")
        data, self.pending = self.pending[:size], self.pending[size:]
        return data

    def read_head(self):
        status_line = self._line()
        version, status, _ = (status_line + b" ").split(b" ", 2)
        if version not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise ValueError(f"not HTTP: {status_line!r}")
        headers = []
        while line := self._line():
            name, value = line.decode("latin-1").split(":", 1)
            assert name == name.strip(), f"space around a header name: {line!r}"
            headers.append((name.lower(), value.strip()))
        return Answer(int(status), headers)

    def pieces(self, answer):
        """The body of that answer, piece by piece, by its framing."""
        length = answer.header("content-length")
        if answer.header("transfer-encoding") == "chunked":
            assert length is None, "two framings at once"
            while size := int(self._line().split(b";")[0], 16):
                data = self._exactly(size)
                if self._exactly(2) != b"\r\n":
                    raise ValueError("a chunk does not end with CRLF")
                yield data
            while self._line():
                pass
        elif length is not None:
            yield self._exactly(int(length))
        else:
            if self.pending:
                yield self.pending
            self.pending = b""
            while self._receive():
                yield self.pending
                self.pending = b""

    def read_answer(self, to_head=False):
        answer = self.read_head()
        while answer.status == 100:
            answer = self.read_head()
        if answer.status != 204 and not to_head:
            answer.body = b"".join(self.pieces(answer))
        return answer

    def request(self, method, path, body=None, headers=None):
        self.send(build_request(method, path, body, headers))
        return self.read_answer(to_head=method == "HEAD")

    def chat(self, body, headers=None):
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        return self.request("POST", "/v1/chat/completions", body, headers)

    def start_chat(self, body, headers=None):
        """Sends it and reads the head of the answer only."""
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        self.send(build_request("POST", "/v1/chat/completions", body, headers))
        return self.read_head()

    def at_end(self):
        """The peer has closed, in either way, and sent nothing more."""
        if self.pending:
            return False
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


def request_once(port, method, path, body=None, headers=None):
    with Connection(port) as connection:
        return connection.request(method, path, body, {"Connection": "close", **(headers or {})})


def chat_once(port, body, headers=None):
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    return request_once(port, "POST", "/v1/chat/completions", body, headers)


def sse_events(data):
    """Data of each event in the bytes of a stream; comments are left out."""
    events = []
    for block in data.replace(b"\r\n", b"\n").split(b"\n\n"):
        lines = [line[5:].lstrip() for line in block.split(b"\n") if line.startswith(b"data:")]
        if lines:
            events.append(b"\n".join(lines))
    return events
