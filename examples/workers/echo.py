"""A worker that says again what it was told last, from proto/02-WORKER.md alone. `dynabus serve --dev` runs:
`pip install -r requirements.txt`, `python echo.py`, and the model `echo` is served until Ctrl-C."""
import argparse, contextlib, json, os, signal, time
import msgpack, zmq
from zmq.auth import load_certificate

parser = argparse.ArgumentParser()
parser.add_argument("--router", default="tcp://127.0.0.1:7401", help="the workers socket of a router")
parser.add_argument("--model", default="echo", help="of a target with the same name")
parser.add_argument("--curve", nargs=2, metavar="CERT", help="our secret and the router's public one")
args = parser.parse_args()
worker, stop = os.urandom(16).hex(), []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stop.append(True))

def names(head):  # what every envelope about a call repeats
    return {key: head[key] for key in ("id", "attempt", "epoch") if key in head}

def begin(head, body):  # a call: what it has to say, and how much of that it may
    said = {"role": "assistant", "content": str(json.loads(body)["messages"][-1]["content"])}
    stream, kind, key, parts = False, "chat.completion", "message", [(said, "stop")]
    if head.get("stream"):
        stream, kind, key, parts = True, "chat.completion.chunk", "delta", [(said, None), ({}, "stop")]
    texts = [json.dumps({"id": "echo", "object": kind, "created": int(time.time()), "model": args.model,
                         "choices": [{"index": 0, key: part, "finish_reason": end}]}) for part, end in parts]
    rest = ("".join(f"data: {text}\n\n" for text in [*texts, "[DONE]"]) if stream else texts[0]).encode()
    first = {"stream": stream, "status": 200, "type": b"text/event-stream" if stream else b"application/json"}
    return {"of": names(head), "credit": head.get("credit", 0), "seq": 0, "rest": rest, "first": first}

class Connection:  # to a router, until that is lost or all is done
    def send(self, kind, body=None, **members):
        header, self.sent = msgpack.packb({"v": [1, 1], "kind": kind, **members}), time.monotonic()
        self.socket.send_multipart([header, body] if body else [header])

    def go_on(self, call):  # as far as credit allows
        while call["rest"] and call["credit"]:
            piece = call["rest"][:min(call["credit"], 32768)]
            call["rest"], call["credit"] = call["rest"][len(piece):], call["credit"] - len(piece)
            self.send("chunk", piece, **call["of"], seq=call["seq"], **call["first"])
            call["seq"], call["first"] = call["seq"] + 1, {}
        if not call["rest"]:
            self.send("end", **self.calls.pop(call["of"]["id"])["of"], outcome="ok", calls=1)

    def take(self, head, body=b""):  # false: the router is not there any more
        kind, call = head["kind"], self.calls.get(head.get("id"))
        if kind == "request" and stop:
            self.send("end", **names(head), outcome="error", error="DRAINING")
        elif kind == "request":
            try:
                self.go_on(self.calls.setdefault(head["id"], begin(head, body)))
            except (ValueError, LookupError, TypeError):
                self.send("end", **names(head), outcome="error", error="UPSTREAM_INVALID")
        elif kind == "credit" and call:
            call["credit"] += head["credit"]
            self.go_on(call)
        elif kind == "cancel" and self.calls.pop(head["id"], None):
            self.send("end", **names(head), outcome="cancelled", calls=1)
        return kind != "goodbye" or head.get("reason") == "drain"

    def run(self):
        self.socket = s = zmq.Context.instance().socket(zmq.DEALER)  # each connection has one of its own
        self.calls, draining, there, s.linger, s.reconnect_ivl, s.sndtimeo = {}, False, True, 1000, -1, 0
        if args.curve:
            (s.curve_publickey, s.curve_secretkey), (s.curve_serverkey, _) = map(load_certificate, args.curve)
        s.connect(args.router)
        heard, serves = time.monotonic(), {"targets": [{"name": args.model, "models": [args.model]}]}
        self.send("ready", msgpack.packb(serves), role="worker", worker=worker, node=worker, requests=64)
        while there and time.monotonic() - heard < 2 and not (draining and not self.calls):
            draining = draining or bool(stop) and not self.send("goodbye", worker=worker, reason="drain")
            if self.socket.poll(100):
                frames, heard = self.socket.recv_multipart(), time.monotonic()
                there = self.take(msgpack.unpackb(frames[0]), *frames[1:])
            if time.monotonic() - self.sent > 0.4:
                self.send("heartbeat")
        self.send("goodbye", worker=worker, reason="close")

while not stop:
    with contextlib.suppress(zmq.Again):  # by whoever sends where nobody is connected any more
        Connection().run()
    time.sleep(0.2)
