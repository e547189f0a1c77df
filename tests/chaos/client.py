"""The load: so many plain requests and streams in flight all the time, each on a connection of its own that is kept
as long as the gateway keeps it. HTTP is read here byte by byte and strictly; what an answer is worth, judge.py says.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field

from judge import ANSWERED, ERROR, STREAM_ERROR, UNANSWERED, judge

# The longest that a request may take: detection of a silent process (2 s), its wait for another (2 s), the mock's
# 2 s and a stream's length, several times over. What is older got no answer.
PATIENCE_SECONDS = 30
AFTER_ERROR_SECONDS = 0.1  # who was refused does not ask again at once


@dataclass
class Answer:
    status: int = None
    content_type: str = ""
    closes: bool = False
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False
    why: str = ""
    headers: dict = field(default_factory=dict)


class Malformed(ValueError):
    """Bytes that are no HTTP answer."""


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self):
        self.transport = None
        self.is_open = True
        self.served = 0  # whole answers that came over it
        self.waiter = None
        self.start()

    def start(self):
        self.answer = Answer()
        self.raw = bytearray()  # received, not yet taken apart
        self.received = 0
        self.left = None  # of the body, or of the current chunk; None: the head is still to come
        self.chunked = False

    # ---- what asyncio calls ----

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += len(data)
        self.raw += data
        try:
            if self.left is None:
                self.read_head()
            if self.left is not None:
                self.read_body()
        except (Malformed, ValueError, UnicodeDecodeError) as problem:
            self.finish(f"malformed: {problem}")
            self.close()
            return
        if self.answer.whole:
            self.served += 1
            self.finish("")

    def connection_lost(self, problem):
        self.is_open = False
        self.finish(f"connection {'reset' if problem else 'closed'} after {self.received} bytes")

    # ---- framing ----

    def read_head(self):
        end = self.raw.find(b"\r\n\r\n")
        if end < 0:
            return
        status_line, *lines = bytes(self.raw[:end]).decode("latin-1").split("\r\n")
        version, status, _ = (status_line + "  ").split(" ", 2)
        if version != "HTTP/1.1" or not status.isdigit():
            raise Malformed(status_line)
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or name.lower() in headers:
                raise Malformed(line)
            headers[name.lower()] = value.strip()
        del self.raw[: end + 4]
        answer = self.answer
        answer.status, answer.headers = int(status), headers
        answer.content_type = headers.get("content-type", "")
        answer.closes = headers.get("connection", "").lower() == "close"
        self.chunked = headers.get("transfer-encoding") == "chunked"
        if self.chunked == ("content-length" in headers):
            raise Malformed("no framing, or two")
        self.left = 0 if self.chunked else int(headers["content-length"])
        if not self.chunked and self.left == 0:
            answer.whole = True

    def read_body(self):
        if self.chunked:
            self.read_chunks()
            return
        self.answer.body += self.raw
        self.raw.clear()
        if len(self.answer.body) > self.left:
            raise Malformed("bytes behind the answer")
        self.answer.whole = len(self.answer.body) == self.left

    def read_chunks(self):
        at = 0
        while not self.answer.whole:
            end = self.raw.find(b"\r\n", at)
            if end < 0:
                break
            size = int(bytes(self.raw[at:end]), 16)
            if len(self.raw) < end + 2 + size + 2:
                break
            if self.raw[end + 2 + size : end + 4 + size] != b"\r\n":
                raise Malformed("a chunk does not end with CRLF")
            self.answer.body += self.raw[end + 2 : end + 2 + size]
            at = end + 4 + size
            self.answer.whole = size == 0
        del self.raw[:at]
        if self.answer.whole and self.raw:
            raise Malformed("bytes behind the answer")

    # ---- one request ----

    def finish(self, why):
        self.answer.why = self.answer.why or why
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(self.answer)

    async def ask(self, request, seconds):
        self.start()
        self.waiter = asyncio.get_running_loop().create_future()
        if not self.is_open:
            self.answer.why = "connection closed after 0 bytes"
            return self.answer
        self.transport.write(request)
        try:
            answer = await asyncio.wait_for(self.waiter, seconds)
        except asyncio.TimeoutError:
            answer = self.answer
            answer.why = f"nothing more after {seconds:.0f} s"
            self.close()
        if not answer.whole or answer.closes:
            self.close()
        return answer

    def close(self):
        self.is_open = False
        if self.transport is not None:
            self.transport.abort()


@dataclass
class Request:
    number: str
    stream: bool
    edge: object  # with host, port and generation
    generation: int
    began: float
    ended: float = None
    verdict: object = None


@dataclass
class Kind:
    """One kind of request: how often it occurs, and what the mock does with it."""

    name: str
    model: str
    tokens: int
    stream: bool
    share: int
    request_bytes: int = 120  # of the text


class Load:
    """Slots that each have one request in flight, from start() to stop()."""

    def __init__(self, edges, kinds, seed_random, key):
        self.edges = edges
        self.kinds = kinds
        self.random = seed_random
        self.key = key
        self.requests = {}  # number -> Request, all that were ever sent
        self.in_flight = {}
        self.repeats = 0  # of requests on a kept connection that closed without one byte
        self.gone_with_edge = []  # whose edge was killed while it had them
        self.stopping = False
        self.tasks = []
        self.counter = 0

    # ---- life ----

    def start(self, plain, streams):
        ramp = 1.0
        for index in range(plain + streams):
            kinds = [kind for kind in self.kinds if kind.stream == (index >= plain)]
            edge = self.edges[index % len(self.edges)]
            self.tasks.append(asyncio.create_task(self.slot(kinds, edge, self.random.random() * ramp)))

    async def stop(self, seconds):
        """No new requests; those in flight may end. What is left then got no answer."""
        self.stopping = True
        if self.tasks:
            _, pending = await asyncio.wait(self.tasks, timeout=seconds)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    # ---- requests ----

    def body_of(self, kind, number):
        return json.dumps(
            {
                "model": kind.model,
                "stream": kind.stream,
                "user": f"request-{number}",
                "messages": [{"role": "user", "content": f"request {number} " + "words " * (kind.request_bytes // 6)}],
            }
        ).encode()

    def bytes_of(self, kind, number):
        body = self.body_of(kind, number)
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: chaos\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self.key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def slot(self, kinds, edge, delay):
        await asyncio.sleep(delay)
        weights = [kind.share for kind in kinds]
        connection = None
        try:
            while not self.stopping:
                connection = await self.one(self.random.choices(kinds, weights)[0], edge, connection)
        finally:
            if connection is not None:
                connection.close()

    async def one(self, kind, edge, connection):
        while not edge.is_up:  # killed, and its successor is not there yet: nobody can connect
            if self.stopping:
                return None
            await asyncio.sleep(0.02)
        self.counter += 1
        number = f"{edge.name}-{'s' if kind.stream else 'p'}{self.counter}"
        request = Request(number, kind.stream, edge, edge.generation, time.monotonic())
        self.requests[number] = self.in_flight[number] = request
        try:
            connection, answer = await self.exchange(kind, request, connection)
        except asyncio.CancelledError:
            self.end(request, Answer(why="still in flight at the end of the run"), kind)
            raise
        self.end(request, answer, kind)
        if request.verdict.outcome == ERROR:
            await asyncio.sleep(AFTER_ERROR_SECONDS)
        return connection

    async def exchange(self, kind, request, connection):
        raw = self.bytes_of(kind, request.number)
        if connection is not None and connection.is_open:
            answer = await connection.ask(raw, PATIENCE_SECONDS)
            if connection.received > 0 or connection.is_open or request.edge.generation != request.generation:
                return connection, answer
            # A kept connection that closes without one byte: HTTP lets a client send the request again, once.
            self.repeats += 1
        try:
            _, connection = await asyncio.wait_for(
                asyncio.get_running_loop().create_connection(Connection, request.edge.host, request.edge.port), 5
            )
        except (OSError, asyncio.TimeoutError) as problem:
            return None, Answer(why=f"cannot connect: {problem}")
        return connection, await connection.ask(raw, PATIENCE_SECONDS)

    def end(self, request, answer, kind):
        request.ended = time.monotonic()
        request.verdict = judge(answer, request.number, kind.tokens, kind.stream)
        del self.in_flight[request.number]
        # The process that holds a client's connection is the one whose death its client sees.
        if request.verdict.outcome == UNANSWERED and request.edge.generation != request.generation:
            self.gone_with_edge.append(request)

    def held_by_edge(self, edge):
        return sum(1 for request in self.in_flight.values() if request.edge is edge)

    # ---- the sum ----

    def count(self, outcome, stream=None):
        gone = {request.number for request in self.gone_with_edge}
        return sum(
            1
            for request in self.requests.values()
            if request.verdict is not None
            and request.verdict.outcome == outcome
            and (stream is None or request.stream == stream)
            and not (outcome == UNANSWERED and request.number in gone)
        )

    def failures(self, outcome):
        """Why, and how often."""
        gone = {request.number for request in self.gone_with_edge}
        reasons = {}
        for request in self.requests.values():
            if request.verdict.outcome == outcome and request.number not in gone:
                kind = "stream" if request.stream else "plain"
                reasons.setdefault((kind, request.verdict.why), []).append(request)
        return sorted(reasons.items(), key=lambda item: -len(item[1]))


__all__ = ["ANSWERED", "ERROR", "STREAM_ERROR", "UNANSWERED", "Kind", "Load"]
