"""A guardrail that masks phrases in answers, or cuts a stream before one, from proto/05-PLUGIN.md alone. Text
waits only while it may become a phrase. The gateway's configuration names it `stream`: `pip install -r
requirements.txt`, `python stream.py "project x"`, until Ctrl-C."""
import argparse, contextlib, json, os, re, signal, time
import msgpack, zmq
from zmq.auth import load_certificate

parser = argparse.ArgumentParser()
parser.add_argument("phrases", nargs="+", help="what no answer may say, in whatever case of a to z")
parser.add_argument("--cut", action="store_true", help="end the answer there instead of masking it")
parser.add_argument("--router", default="tcp://127.0.0.1:7401", help="the workers socket of a router")
parser.add_argument("--name", default="stream", help="under which the configuration asks for us")
parser.add_argument("--curve", nargs=2, metavar="CERT", help="our secret and the router's public one")
args = parser.parse_args()
says = {"name": args.name, "stages": ["during_stream", "after_request"], "needs": ["text"], "amends": True}
phrases = sorted((phrase.encode().lower() for phrase in args.phrases), key=len, reverse=True)
refused = re.compile(b"|".join(map(re.escape, phrases)), re.IGNORECASE)
DENY = {"verdict": "deny", "err_text": "it says what is not to be said"}
streams = {}  # id: {channel: (where what is held begins, what is held)}
node, stop = os.urandom(16).hex(), []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stop.append(True))

def held(text):  # how many bytes at its end may become a phrase
    lengths = range(min(len(text), len(phrases[0]) - 1), 0, -1)
    return next((n for n in lengths if any(phrase.startswith(text[-n:].lower()) for phrase in phrases)), 0)

def vote_on_stream(asked, channels):  # positions count bytes, each channel from 0
    marks, is_cut = [], False
    for delta in asked["deltas"]:
        names = {key: delta.get(key, 0) for key in ("choice", "kind", "tool")}
        start, text = channels.get(tuple(names.values()), (delta["from"], b""))
        text += delta["text"].encode()
        masks = [[start + found.start(), start + found.end(), "***"] for found in refused.finditer(text)]
        clear = len(text) - held(text[masks[-1][1] - start if masks else 0:])
        if args.cut and masks:
            is_cut, clear, masks = True, masks[0][0] - start, []
        marks.append({**names, "clear": start + clear, "masks": masks})
        channels[tuple(names.values())] = start + clear, text[clear:]
        if is_cut:
            break
    return {**(DENY if is_cut else {"verdict": "pass"}), "body": msgpack.packb({"marks": marks})}

def vote(head, body):  # what follows from a question: members of the VOTE, and its body
    asked = msgpack.unpackb(body)
    if head["stage"] == "during_stream":
        said = vote_on_stream(asked, streams.setdefault(head["id"], {}))
        if asked.get("last") or said["verdict"] == "deny":
            del streams[head["id"]]
        return said
    masked = [(text["at"], *refused.subn(b"***", text["text"].encode())) for text in asked["texts"]]
    edits = [{"op": "replace", "at": at, "value": json.dumps(text.decode())} for at, text, n in masked if n]
    amend = {"verdict": "amend", "body": msgpack.packb({"edits": edits})}
    return {"verdict": "pass"} if not edits else dict(DENY) if args.cut else amend

class Connection:  # to a router, until that is lost or all is done
    def send(self, kind, body=None, **members):
        header = msgpack.packb({"v": [1, 3], "kind": kind, **members})
        self.socket.send_multipart([header, body] if body else [header])

    def take(self, head, body=b""):  # false: the router is not there any more
        if head["kind"] == "ask" and not head.get("tell"):
            try:
                said = vote(head, body)
            except Exception as failure:  # the gateway's policy decides, not our death
                said = {"verdict": "failed", "reason": repr(failure)[:60]}
            names = {key: head[key] for key in ("id", "attempt", "epoch", "plugin", "stage") if key in head}
            self.send("vote", **names, **said)
        elif head["kind"] in ("ask", "cancel"):  # it has ended without its last words
            streams.pop(head.get("id"), None)
        return head["kind"] != "goodbye" or head.get("reason") == "drain"

    def run(self):
        self.socket = s = zmq.Context.instance().socket(zmq.DEALER)  # each connection has one of its own
        streams.clear()
        there, draining, s.linger, s.reconnect_ivl, s.sndtimeo = True, False, 1000, -1, 0
        if args.curve:
            (s.curve_publickey, s.curve_secretkey), (s.curve_serverkey, _) = map(load_certificate, args.curve)
        s.connect(args.router)
        self.send("ready", msgpack.packb({"plugins": [says]}), role="plugin", worker=node, node=node)
        heard = beat = time.monotonic()
        while there and time.monotonic() - heard < 2:
            if stop and not draining:
                draining = not self.send("goodbye", worker=node, reason="drain")  # streams go on with us
            if s.poll(100):
                frames, heard = s.recv_multipart(), time.monotonic()
                there = self.take(msgpack.unpackb(frames[0]), *frames[1:])
            elif draining and not streams:
                break
            if time.monotonic() - beat > 0.4:
                self.send("heartbeat")
                beat = time.monotonic()
        self.send("goodbye", worker=node, reason="close")

while not stop:
    with contextlib.suppress(zmq.Again):  # by whoever sends where nobody is connected any more
        Connection().run()
    time.sleep(0.2)
