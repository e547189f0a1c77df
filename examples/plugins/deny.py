"""A guardrail that refuses requests which hold a word, from proto/05-PLUGIN.md alone. The gateway's configuration
names it `deny`: `pip install -r requirements.txt`, `python deny.py swordfish "open sesame"`, until Ctrl-C."""
import argparse, contextlib, os, re, signal, time
import msgpack, zmq
from zmq.auth import load_certificate

parser = argparse.ArgumentParser()
parser.add_argument("words", nargs="+", help="words and phrases that no request may hold, in whatever case")
parser.add_argument("--router", default="tcp://127.0.0.1:7401", help="the workers socket of a router")
parser.add_argument("--name", default="deny", help="under which the configuration asks for us")
parser.add_argument("--curve", nargs=2, metavar="CERT", help="our secret and the router's public one")
args = parser.parse_args()
says = {"name": args.name, "stages": ["before_request"], "needs": ["text"]}
refused = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in args.words), re.IGNORECASE)
node, stop = os.urandom(16).hex(), []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stop.append(True))

def vote(head, body):  # what follows from a question: members of the VOTE
    asked = msgpack.unpackb(body)
    if any(refused.search(said["text"]) for said in asked["texts"] if said["kind"] != "image_url"):
        return {"verdict": "deny", "err_text": "it holds a word that is not allowed here", "notes": "word"}
    if asked.get("uninspectable"):
        return {"verdict": "deny", "err_text": "it holds parts that cannot be read", "notes": "unreadable"}
    return {"verdict": "pass"}

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
