"""A plugin played by a test: joins a gateway's bus (proto/05-PLUGIN.md) and votes as it is told to."""

import os
import threading
import time

import msgpack
import zmq

from harness.bus import read

VERSION = [1, 3]
HEARTBEAT_SECONDS = 0.4


def header(kind, **members):
    return msgpack.packb({"v": VERSION, "kind": kind, **members}, use_bin_type=True)


class ScriptedPlugin:
    """`vote(ask, body)` gives the members of the VOTE, with "body" for its body; None: it stays silent."""

    def __init__(self, endpoint, vote, name="judge", **said):
        self.vote = vote
        self.asks = []  # (header, body) in the order in which they came
        self.told = []  # those with `tell`
        self.cancelled = []
        self.goodbyes = []
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 200
        self.socket.connect(endpoint)
        self.said = {"name": name, "stages": ["before_request"], "needs": [], **said}
        self.is_closing = False
        self.is_ready = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert self.is_ready.wait(10), "no router answered"

    def send(self, kind, body=b"", **members):
        self.socket.send_multipart([header(kind, **members)] + ([body] if body else []))

    def run(self):
        self.send("ready", msgpack.packb({"plugins": [self.said]}), role="plugin", worker="scripted",
                  node=os.urandom(16).hex())
        next_beat = time.monotonic()
        while not self.is_closing:
            if time.monotonic() >= next_beat:
                self.send("heartbeat")
                next_beat = time.monotonic() + HEARTBEAT_SECONDS
            if self.socket.poll(50):
                self.take(*read(self.socket.recv_multipart()))
        self.socket.close()
        self.context.term()

    def take(self, members, body):
        kind = members["kind"]
        if kind == "ready":
            self.is_ready.set()
        elif kind == "cancel":
            self.cancelled.append(members)
        elif kind == "goodbye":
            self.goodbyes.append(members)
            self.is_ready.set()
        elif kind == "ask" and members.get("tell"):
            self.told.append((members, body))
        elif kind == "ask":
            self.asks.append((members, body))
            vote = self.vote(members, body)
            if vote is not None:
                echo = {key: members[key] for key in ("id", "attempt", "epoch", "plugin", "stage")}
                self.send("vote", vote.pop("body", b""), **echo, **vote)

    def close(self):
        """At once, as a process that is killed."""
        self.is_closing = True
        self.thread.join(10)


def edits(*items):
    return msgpack.packb({"edits": [dict(zip(("op", "at", "value"), item)) for item in items]})
