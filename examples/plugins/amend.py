"""A transform that puts a system message in front of each chat and lowers how long its answer may be, from
proto/05-PLUGIN.md alone; what it does not name keeps its bytes. The gateway's configuration names it `amend`: `pip
install -r requirements.txt`, `python amend.py --system "Answer in French." --max-tokens 500`, until Ctrl-C."""
import argparse, contextlib, json, os, signal, time
import msgpack, zmq
from zmq.auth import load_certificate

parser = argparse.ArgumentParser()
parser.add_argument("--system", metavar="TEXT", help="the first message of each chat")
parser.add_argument("--max-tokens", type=int, metavar="N", help="the longest answer; shorter wishes stay")
parser.add_argument("--router", default="tcp://127.0.0.1:7401", help="the workers socket of a router")
parser.add_argument("--name", default="amend", help="under which the configuration asks for us")
parser.add_argument("--curve", nargs=2, metavar="CERT", help="our secret and the router's public one")
args = parser.parse_args()
says = {"name": args.name, "stages": ["before_request"], "needs": ["body"], "amends": True}
LIMITS = "max_tokens", "max_completion_tokens"  # two names of the same thing
node, stop = os.urandom(16).hex(), []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stop.append(True))

def edits_of(request):  # all places are those of the body as it came
    if args.system:
        message = {"role": "system", "content": args.system}
        yield {"op": "add", "at": "/messages/0", "value": json.dumps(message)}
    asked = {limit: request[limit] for limit in LIMITS if request.get(limit) is not None}
    if args.max_tokens and not asked:
        op = "replace" if "max_tokens" in request else "add"  # null is a value, too
        yield {"op": op, "at": "/max_tokens", "value": str(args.max_tokens)}
    for limit in asked:
        if args.max_tokens and asked[limit] > args.max_tokens:
            yield {"op": "replace", "at": f"/{limit}", "value": str(args.max_tokens)}

def vote(head, body):  # what follows from a question: members of the VOTE, and its body
    if head["facts"].get("dialect") != "openai_chat":
        return {"verdict": "pass"}
    edits = list(edits_of(json.loads(body)))
    if not edits:
        return {"verdict": "pass"}
    return {"verdict": "amend", "body": msgpack.packb({"edits": edits}), "notes": f"{len(edits)} edits"}

class Connection:  # to a router, until that is lost or we are to stop
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
        return head["kind"] != "goodbye" or head.get("reason") == "drain"

    def run(self):
        self.socket = s = zmq.Context.instance().socket(zmq.DEALER)  # each connection has one of its own
        there, s.linger, s.reconnect_ivl, s.sndtimeo = True, 1000, -1, 0
        if args.curve:
            (s.curve_publickey, s.curve_secretkey), (s.curve_serverkey, _) = map(load_certificate, args.curve)
        s.connect(args.router)
        self.send("ready", msgpack.packb({"plugins": [says]}), role="plugin", worker=node, node=node)
        heard = beat = time.monotonic()
        while there and not stop and time.monotonic() - heard < 2:
            if s.poll(100):
                frames, heard = s.recv_multipart(), time.monotonic()
                there = self.take(msgpack.unpackb(frames[0]), *frames[1:])
            if time.monotonic() - beat > 0.4:
                self.send("heartbeat")
                beat = time.monotonic()
        self.send("goodbye", worker=node, reason="close")  # what we did not answer is asked of another one

while not stop:
    with contextlib.suppress(zmq.Again):  # by whoever sends where nobody is connected any more
        Connection().run()
    time.sleep(0.2)
