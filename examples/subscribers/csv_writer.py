"""One line of CSV for each request, none twice and none missing as long as the router keeps them: a subscriber from
proto/04-EVENTS.md that asks again for what it did not hear. Started again with the same file it goes on where that
ends. Ctrl-C stops."""
import argparse, csv, os, time
import msgpack, zmq
from zmq.auth import load_certificate

FIELDS = ["timestamp_us", "topic", "trace_id", "key_id", "model", "provider", "target", "status", "error_code", "stream",
          "attempts", "upstream_calls", "latency_us", "ttft_us", "tokens_in", "tokens_out", "cost_usd",
          "node", "epoch", "sequence"]
parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("--router", default="tcp://127.0.0.1:7400", help="the clients socket of a router")
parser.add_argument("--events", default="tcp://127.0.0.1:7402", help="its events socket")
parser.add_argument("--api-key", default=os.environ.get("MASTER_KEY"), help="where the gateway asks for one")
parser.add_argument("--curve", nargs=2, metavar="CERT", help="our secret and the router's public one")
args = parser.parse_args()
context = zmq.Context()

def connect(kind, endpoint):
    socket = context.socket(kind)
    socket.linger, socket.heartbeat_ivl = 0, 1000
    if args.curve:
        socket.curve_publickey, socket.curve_secretkey = load_certificate(args.curve[0])
        socket.curve_serverkey = load_certificate(args.curve[1])[0]
    if kind == zmq.SUB:
        socket.subscribe("gateway.request.")
    socket.connect(endpoint)
    return socket

class File:  # remembers which number of which count came last
    def __init__(self, path):
        self.count, self.last, exists = None, 0, os.path.exists(path) and os.path.getsize(path) > 0
        for row in csv.DictReader(open(path, newline="")) if exists else []:
            self.count, self.last = (row["node"], int(row["epoch"])), int(row["sequence"])
        self.out = open(path, "a", newline="")
        self.csv = csv.DictWriter(self.out, FIELDS, extrasaction="ignore")
        if not exists:
            self.csv.writeheader()

    def write(self, event):
        count = event["node"], event["epoch"]
        if count != self.count:
            self.count, self.last = count, 0
        if event["sequence"] > self.last:
            self.csv.writerow(event)
            self.out.flush()
            self.last = event["sequence"]

def ask_again(file):  # everything from the last number on; False: the router did not answer
    socket, done = connect(zmq.DEALER, args.router), False
    while not done:
        request = {"v": [1, 1], "kind": "request", "id": os.urandom(16), "surface": "events", "topic": "gateway.request.",
                   "since": file.last + 1, **({"node": file.count[0]} if file.count else {}),
                   **({"cred": args.api_key.encode()} if args.api_key else {})}
        socket.send(msgpack.packb(request))
        end = {}
        while end.get("id") != request["id"] or end["kind"] != "end":
            if not socket.poll(5000):
                socket.close()
                return False
            header, *body = socket.recv_multipart()
            end = msgpack.unpackb(header)
        if end["outcome"] != "ok":
            raise SystemExit(f"the router refuses: {end.get('err_text') or end['error']}")
        unpacker = msgpack.Unpacker()
        unpacker.feed(b"".join(body))
        for event in unpacker:
            file.write(event)
        done = end.get("since", 0) > end.get("event_seq", 0)
        if not done:
            file.last = max(file.last, end["since"] - 1)
    socket.close()
    return True

file, live, heard = File(args.file), connect(zmq.SUB, args.events), {}
time.sleep(0.2)  # the subscription is there before we ask: what is told from now on comes by itself
try:
    ask_again(file)
    while True:
        event = msgpack.unpackb(live.recv_multipart()[2])
        count = event["node"], event["epoch"], event["topic"]
        if event["topic_sequence"] != heard.get(count, 0) + 1 and (count[:2] != file.count or event["sequence"] > file.last):
            ask_again(file)  # a gap, or the first of a count that we have not followed
        heard[count] = event["topic_sequence"]
        file.write(event)
except KeyboardInterrupt:
    pass
