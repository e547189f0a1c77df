"""Serves a Python function as a model: a worker of a Dynabus gateway, written from proto/02-WORKER.md alone.

    pip install -r requirements.txt                        while `dynabus serve --dev` runs:
    python function_model.py                               the function below, as the model `counter`
    python function_model.py my_code:answer --model mine   one of your own

The function gets the messages of a chat and the rest of the request by name, and yields pieces of text as it
has them (or returns the whole). It runs in a thread of its own and is stopped at its next piece when nobody
wants the answer any more. ValueError tells the caller that the request is wrong; any other exception lets the
gateway try elsewhere, if nothing was said yet.
"""

import argparse
import importlib
import json
import os
import queue
import random
import signal
import socket
import threading
import time

import msgpack
import zmq
import zmq.auth

HEARTBEAT_S = 0.5   # a router hears from us at least so often
LOST_S = 2.0        # silent for so long: lost
RETRY_S = 0.05, 1.0  # first and longest wait before connecting again
CHUNK_MAX = 32 * 1024
ANSWER_MAX = 1024 * 1024  # of a plain answer that is sent in one piece
CALLS_MAX = 64
BODIES_MAX = 64 * 1024 * 1024


def counter(messages, **request):
    """The model that comes with this file: counts the words it was given, aloud."""
    words = str(messages[-1].get("content", "")).split()
    for number, word in enumerate(words, 1):
        yield f"{number} {word}\n"


# ---- what the OpenAI API looks like ----


class Stopped(Exception):
    """Nobody wants the answer any more."""


def piece_of(kind, key, message, finish, model):
    choice = {"index": 0, key: message, "finish_reason": finish}
    return {"id": "chatcmpl-function", "object": kind, "created": int(time.time()), "model": model,
            "choices": [choice]}


def event(delta, finish, model):
    data = piece_of("chat.completion.chunk", "delta", delta, finish, model)
    return b"data: " + json.dumps(data).encode() + b"\n\n"


# ---- a call, in its own thread ----


class Call:
    """One REQUEST. The thread that makes the answer waits here for credit; the loop sends what it made."""

    def __init__(self, connection, head, body, function, model):
        self.connection, self.function, self.model = connection, function, model
        self.names = {key: head[key] for key in ("id", "attempt", "epoch") if key in head}
        self.order = (head.get("attempt", 0), head.get("epoch", 0))
        self.is_stream = head.get("stream", False)
        self.deadline = time.monotonic() + head["deadline"] / 1000 if head.get("deadline") else None
        self.credit = head.get("credit", 0)
        self.body = body
        self.changed = threading.Condition()
        self.is_over = False
        self.sequence = 0

    def grant(self, credit):
        with self.changed:
            self.credit += credit
            self.changed.notify()

    def stop(self):
        with self.changed:
            self.is_over = True
            self.changed.notify()

    def left(self):
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def check(self):
        if self.is_over:
            raise Stopped
        if self.left() == 0.0:
            raise TimeoutError

    def chunks(self, data, **first):
        """Sends the bytes as CHUNKs, each when there is credit for it."""
        while data:
            with self.changed:
                self.check()
                if self.credit == 0:
                    self.changed.wait(self.left())
                    continue
                size = min(self.credit, CHUNK_MAX, len(data))
                self.credit -= size
            members = first if self.sequence == 0 else {}
            self.connection.post("chunk", data[:size], **self.names, seq=self.sequence, **members)
            self.sequence += 1
            data = data[size:]

    def end(self, outcome, body=b"", **members):
        self.connection.post("end", body, **self.names, outcome=outcome, calls=1, **members)

    def run(self):
        try:
            self.answer()
        except Stopped:
            self.end("cancelled")
        except TimeoutError:
            self.end("error", error="UPSTREAM_TIMEOUT")
        except ValueError as wrong:
            self.end("error", error="UPSTREAM_INVALID", err_text=str(wrong)[:1000])
        except Exception as failure:  # of the function: the router may try another worker
            print(f"the function failed: {failure!r}", flush=True)
            self.end("error", error="UPSTREAM_ERROR")

    def answer(self):
        request = json.loads(self.body)
        messages = request.pop("messages", None) if isinstance(request, dict) else None
        if not isinstance(messages, list) or not messages:
            raise ValueError("messages must be a list with something in it")
        model = request.pop("model", self.model)
        made = self.function(messages, **request)
        pieces = [made] if isinstance(made, str) else made
        if self.is_stream:
            self.stream(pieces, model)
        else:
            self.plain(pieces, model)

    def stream(self, pieces, model):
        first = {"stream": True, "status": 200, "type": b"text/event-stream"}
        role = {"role": "assistant"}
        for text in pieces:  # the first CHUNK has content in it: what fails before is an error of the whole
            self.chunks(event({**role, "content": text}, None, model), **first)
            role = {}
            self.check()
        self.chunks(event(role, "stop", model) + b"data: [DONE]\n\n", **first)
        self.end("ok")

    def plain(self, pieces, model):
        texts = []
        for text in pieces:
            texts.append(text)
            self.check()
        message = {"role": "assistant", "content": "".join(texts)}
        body = json.dumps(piece_of("chat.completion", "message", message, "stop", model)).encode()
        head = {"status": 200, "type": b"application/json"}
        if len(body) <= ANSWER_MAX:
            self.end("ok", body, **head)
        else:
            self.chunks(body, **head)
            self.end("ok")


# ---- a router ----


class Connection:
    """One router. All sockets belong to the loop's thread; others post."""

    def __init__(self, worker, endpoint):
        self.worker, self.endpoint = worker, endpoint
        self.calls = {}
        self.socket = None
        self.delay = RETRY_S[0]
        self.open()

    def open(self):
        """Each connection has a socket of its own: nothing meant for a dead router reaches its successor."""
        self.socket = self.worker.context.socket(zmq.DEALER)
        self.socket.linger = 1000
        self.socket.reconnect_ivl = -1
        self.worker.secure(self.socket)
        self.socket.connect(self.endpoint)
        self.heard = self.sent = time.monotonic()
        self.send("ready", msgpack.packb(self.worker.serves), role="worker", worker=self.worker.name,
                  node=self.worker.node, requests=CALLS_MAX, req_bytes=BODIES_MAX)
        if self.worker.is_draining:
            self.send("goodbye", worker=self.worker.name, reason="drain")

    def lose(self):
        """Its calls are asked for anew elsewhere."""
        for call in self.calls.values():
            call.stop()
        self.calls = {}
        self.socket.close()
        self.socket = None
        self.retry_at = time.monotonic() + random.uniform(self.delay / 2, self.delay)
        self.delay = min(self.delay * 2, RETRY_S[1])

    def send(self, kind, body=b"", **members):
        header = msgpack.packb({"v": [1, 1], "kind": kind, **members})
        if self.socket is None:
            return
        try:
            self.socket.send_multipart([header, body] if body else [header], zmq.NOBLOCK)
            self.sent = time.monotonic()
        except zmq.Again:  # nobody is connected any more
            self.lose()

    def post(self, kind, body=b"", **members):
        """From the thread of a call."""
        self.worker.post(self, self.socket, kind, body, members)

    def take(self, frames):
        self.heard = time.monotonic()
        head = msgpack.unpackb(frames[0])
        body = frames[1] if len(frames) > 1 else b""
        kind = head["kind"]
        call = self.calls.get(head.get("id"))
        if kind == "ready":
            self.delay = RETRY_S[0]
        elif kind == "request":
            self.request(head, body)
        elif kind == "goodbye" and head.get("reason") != "drain":
            self.lose()
        elif call is not None and call.order == (head.get("attempt", 0), head.get("epoch", 0)):
            if kind == "credit":
                call.grant(head["credit"])
            elif kind == "cancel":
                call.stop()

    def request(self, head, body):
        former = self.worker.find(head["id"])
        order = (head.get("attempt", 0), head.get("epoch", 0))
        if former is not None and former.connection is self and former.order >= order:
            return  # a repeat
        if former is not None and former.order[1] > order[1]:
            return  # of a router that its owner has left: the next one's epochs are higher
        if former is not None:  # its router lost it: begun anew, nobody waits for the former one's END
            former.connection.calls.pop(head["id"]).stop()
        names = {key: head[key] for key in ("id", "attempt", "epoch") if key in head}
        refusal = None
        if self.worker.is_draining:
            refusal = "DRAINING"
        elif len(self.calls) >= CALLS_MAX:
            refusal = "SATURATED"
        elif head.get("surface") != "chat" or head.get("dialect", "openai_chat") != "openai_chat":
            refusal = "INVALID_REQUEST"
        if refusal is not None:
            self.send("end", **names, outcome="error", error=refusal)
            return
        call = Call(self, head, body, self.worker.function, self.worker.model)
        self.calls[head["id"]] = call
        threading.Thread(target=call.run, daemon=True).start()

    def posted(self, socket_, kind, body, members):
        """What the thread of a call has made; maybe of a call or a connection that is gone by now."""
        call = self.calls.get(members["id"])
        names = (members.get("attempt", 0), members.get("epoch", 0))
        if socket_ is not self.socket or call is None or call.order != names:
            return
        if kind == "end":
            del self.calls[members["id"]]
        self.send(kind, body, **members)

    def housekeep(self, now):
        if self.socket is None:
            if now >= self.retry_at:
                self.open()
        elif now - self.heard > LOST_S:
            self.lose()
        elif now - self.sent > HEARTBEAT_S * 0.8:
            self.send("heartbeat")


# ---- the worker ----


class Worker:
    def __init__(self, function, options):
        self.function, self.options, self.model = function, options, options.model
        self.context = zmq.Context()
        self.name = os.urandom(16).hex()
        self.node = os.urandom(16).hex()
        self.serves = {"targets": [{"name": options.target or options.model, "models": [options.model]}]}
        self.made = queue.SimpleQueue()
        self.bell, self.ringer = socket.socketpair()
        self.bell.setblocking(False)
        self.ringer.setblocking(False)
        self.is_draining = self.is_asked_to_stop = False
        self.connections = [Connection(self, endpoint) for endpoint in options.routers.split(",")]

    def secure(self, socket_):
        if self.options.cert:
            socket_.curve_publickey, socket_.curve_secretkey = zmq.auth.load_certificate(self.options.cert)
            socket_.curve_serverkey = zmq.auth.load_certificate(self.options.server)[0]

    def find(self, id_):
        return next((c.calls[id_] for c in self.connections if id_ in c.calls), None)

    def ring(self):
        try:
            self.ringer.send(b"!")
        except BlockingIOError:
            pass  # it rings already

    def post(self, connection, *what):
        self.made.put((connection, what))
        self.ring()

    def stop(self, *_):
        self.is_asked_to_stop = True
        self.ring()

    def send_what_was_made(self):
        try:
            while self.bell.recv(4096):
                pass
        except BlockingIOError:
            pass
        while not self.made.empty():
            connection, what = self.made.get()
            connection.posted(*what)

    def drain(self):
        self.is_draining = True
        for connection in self.connections:
            connection.send("goodbye", worker=self.name, reason="drain")

    def turn(self):
        poller = zmq.Poller()
        poller.register(self.bell, zmq.POLLIN)
        there = {c.socket: c for c in self.connections if c.socket is not None}
        for socket_ in there:
            poller.register(socket_, zmq.POLLIN)
        ready = dict(poller.poll(50))
        for socket_, connection in there.items():
            # Not more than a few at once: heartbeats have to go out too.
            for _ in range(100):
                if connection.socket is not socket_ or not socket_.poll(0):
                    break
                connection.take(socket_.recv_multipart())
        if self.bell.fileno() in ready:
            self.send_what_was_made()
        now = time.monotonic()
        for connection in self.connections:
            connection.housekeep(now)

    def run(self):
        while not (self.is_draining and not any(c.calls for c in self.connections)):
            self.turn()
            if self.is_asked_to_stop and not self.is_draining:
                self.drain()
        for connection in self.connections:
            connection.send("goodbye", worker=self.name, reason="close")
            if connection.socket is not None:
                connection.socket.close()
        self.context.term()  # until all is sent, a second at most


def load(name):
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def main():
    parser = argparse.ArgumentParser(description="serve a Python function as a model")
    parser.add_argument("function", nargs="?", help="MODULE:FUNCTION; default: counter, in this file")
    parser.add_argument("--model", default="counter", help="what clients call it")
    parser.add_argument("--target", help="the target that it joins; default: the model's name")
    parser.add_argument("--routers", default="tcp://127.0.0.1:7401", help="workers sockets, commas between")
    parser.add_argument("--cert", help="own secret certificate (CURVE); its key has the role `worker`")
    parser.add_argument("--server", help="the routers' public certificate")
    options = parser.parse_args()
    worker = Worker(load(options.function) if options.function else counter, options)
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    worker.run()


if __name__ == "__main__":
    main()
