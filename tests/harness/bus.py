"""Peers of the bus for tests, written from proto/0*.md with pyzmq and msgpack: nothing here is the gateway's own."""

import os
import socket as sockets
import threading
import time

import msgpack
import zmq

VERSION = [1, 1]
WAIT_MS = 20_000  # against hanging


def header(kind, **members):
    return msgpack.packb({"v": VERSION, "kind": kind, **members}, use_bin_type=True)


def read(frames):
    """(header as a map, body) of the frames of a message."""
    assert 1 <= len(frames) <= 2, frames
    return msgpack.unpackb(frames[0], raw=False), frames[1] if len(frames) > 1 else b""


def new_id():
    return os.urandom(16)


def free_base():
    """A port with two more behind it, below those that the kernel gives to outgoing connections."""
    while True:
        base = 15000 + int.from_bytes(os.urandom(2), "big") % 15000
        probes = []
        try:
            for port in range(base, base + 3):
                probes.append(sockets.socket())
                probes[-1].bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()


class Client:
    """A DEALER on the clients' port."""

    def __init__(self, endpoint, context=None):
        self.socket = (context or zmq.Context.instance()).socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, WAIT_MS)
        self.socket.connect(endpoint)

    def send(self, kind, body=b"", **members):
        self.socket.send_multipart([header(kind, **members)] + ([body] if body else []))

    def receive(self):
        return read(self.socket.recv_multipart())

    def request(self, body=b"", surface="chat", **members):
        members = {"id": new_id(), "surface": surface, "dialect": "openai_chat", "credit": 65536, **members}
        self.send("request", body, **members)
        return members["id"]

    def until(self, kind):
        """The next envelope of that kind; others are dropped. Heartbeats do not keep it waiting for ever."""
        deadline = time.monotonic() + WAIT_MS / 1000
        while time.monotonic() < deadline:
            head, body = self.receive()
            if head["kind"] == kind:
                return head, body
        raise AssertionError(f"no {kind}")

    def until_end(self, of):
        """All that comes about that request, END last; other envelopes are dropped."""
        found = []
        while not found or found[-1][0]["kind"] != "end":
            head, body = self.receive()
            if head.get("id") == of:
                found.append((head, body))
        return found

    def close(self):
        self.socket.close()


class ScriptedRouter:
    """A ROUTER that answers each REQUEST with what `answer(router, request, body)` sends, on a thread of its own."""

    def __init__(self, answer):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 5000)
        self.endpoint = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.answer = answer
        self.received = []  # headers
        self.failures = []
        self.peer = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.stopping = threading.Event()
        self.thread.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                if self.socket.poll(20):
                    self.take()
        except Exception as failure:  # shown by close()
            self.failures.append(failure)
        self.socket.close()

    def take(self):
        self.peer, *frames = self.socket.recv_multipart()
        head, body = read(frames)
        self.received.append(head)
        if head["kind"] == "request":
            self.answer(self, head, body)

    def send(self, kind, body=b"", **members):
        self.socket.send_multipart([self.peer, header(kind, **members)] + ([body] if body else []))

    def wait_for(self, kind):
        """The next envelope of that kind from the same peer, from within `answer`."""
        while True:
            assert self.socket.poll(WAIT_MS), f"no {kind}"
            peer, *frames = self.socket.recv_multipart()
            head, _ = read(frames)
            self.received.append(head)
            if peer == self.peer and head["kind"] == kind:
                return head

    def close(self):
        self.stopping.set()
        self.thread.join(10)
        self.context.term()
        assert not self.failures, self.failures
