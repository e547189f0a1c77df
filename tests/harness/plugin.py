"""A plugin played by a test: joins a gateway's bus (proto/05-PLUGIN.md) and votes as it is told to. In a thread of the
test, or (PluginProcess) in a process of its own that can be killed."""

import argparse
import collections
import os
import queue
import signal
import subprocess
import sys
import threading
import time

import msgpack
import zmq
from zmq.auth import load_certificate

from harness.bus import read
from harness.process import clean_environment

VERSION = [1, 3]
HEARTBEAT_SECONDS = 0.4
START_SECONDS = 10
ECHOED = ("id", "attempt", "epoch", "plugin", "stage")


def header(kind, **members):
    return msgpack.packb({"v": VERSION, "kind": kind, **members}, use_bin_type=True)


class ScriptedPlugin:
    """`vote(ask, body)` gives the members of the VOTE, with "body" for its body; None: it stays silent. `curve`: the
    paths of its certificate and of the router's."""

    def __init__(self, endpoint, vote, name="judge", curve=None, requests=0, **said):
        self.vote = vote
        self.asks = []  # (header, body) in the order in which they came
        self.told = []  # those with `tell`
        self.cancelled = []
        self.goodbyes = []
        self.to_say = queue.SimpleQueue()
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 200
        if curve is not None:
            (self.socket.curve_publickey, self.socket.curve_secretkey), (self.socket.curve_serverkey, _) = map(
                load_certificate, map(str, curve))
        self.socket.connect(endpoint)
        self.requests = requests
        self.said = {"name": name, "stages": ["before_request"], "needs": [], **said}
        self.is_closing = False
        self.is_ready = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert self.is_ready.wait(START_SECONDS), "no router answered"

    def send(self, kind, body=b"", **members):
        """By what vote() does; others say()."""
        self.socket.send_multipart([header(kind, **members)] + ([body] if body else []))

    def say(self, kind, body=b"", **members):
        self.to_say.put((kind, body, members))

    def run(self):
        members = {"requests": self.requests} if self.requests else {}
        self.send("ready", msgpack.packb({"plugins": [self.said]}), role="plugin", worker="scripted",
                  node=os.urandom(16).hex(), **members)
        next_beat = time.monotonic()
        while not self.is_closing:
            if time.monotonic() >= next_beat:
                self.send("heartbeat")
                next_beat = time.monotonic() + HEARTBEAT_SECONDS
            while not self.to_say.empty():
                kind, body, members = self.to_say.get()
                self.send(kind, body, **members)
            if self.socket.poll(20):
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
                self.send("vote", vote.pop("body", b""), **echo(members), **vote)

    def close(self):
        """At once, as a process that is killed."""
        self.is_closing = True
        self.thread.join(10)


def echo(ask):
    return {key: ask[key] for key in ECHOED}


def edits(*items):
    return msgpack.packb({"edits": [dict(zip(("op", "at", "value"), item)) for item in items]})


def marks_of(body, clear=True):
    """All text of the question is clear, or none."""
    marks = [{**{key: delta[key] for key in ("choice", "kind", "tool")},
              "clear": delta["from"] + (len(delta["text"].encode()) if clear else 0)}
             for delta in msgpack.unpackb(body)["deltas"]]
    return msgpack.packb({"marks": marks})


# ---- as a process ----


class PluginProcess:
    """Passes everything, but for the stages in `silent`. `heard` counts the words for what came: "ask STAGE"."""

    def __init__(self, endpoint, stages, name="judge", silent=(), curve=None):
        words = ["--stages", *stages, "--name", name, "--silent", *silent, *(["--curve", *map(str, curve)] if curve else [])]
        environment = {**clean_environment({}), "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
        self.heard = collections.Counter()
        self.child = subprocess.Popen([sys.executable, "-m", "harness.plugin", endpoint, *words], env=environment,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.is_ready = threading.Event()
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        for line in self.child.stdout:
            self.heard[line.strip()] += 1
            self.is_ready.set()

    def wait_ready(self):
        assert self.is_ready.wait(START_SECONDS), "no router answered"
        return self

    def kill(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()
        self.thread.join(10)
        self.child.stdout.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint")
    parser.add_argument("--name")
    parser.add_argument("--stages", nargs="+")
    parser.add_argument("--silent", nargs="*")
    parser.add_argument("--curve", nargs=2)
    args = parser.parse_args()

    def vote(ask, body):
        print("ask", ask["stage"], flush=True)
        if ask["stage"] in args.silent:
            return None
        return {"verdict": "pass", "body": marks_of(body) if ask["stage"] == "during_stream" else b""}

    plugin = ScriptedPlugin(args.endpoint, vote, args.name, args.curve, stages=args.stages)
    print("ready", flush=True)
    plugin.thread.join()


if __name__ == "__main__":
    main()
