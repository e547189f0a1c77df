"""Tokens of each model, as they are used: a subscriber from proto/04-EVENTS.md. Ctrl-C stops."""
import argparse, collections
import msgpack, zmq
from zmq.auth import load_certificate

parser = argparse.ArgumentParser()
parser.add_argument("--events", default="tcp://127.0.0.1:7402", help="the events socket of a router")
parser.add_argument("--curve", nargs=2, metavar="CERT", help="our secret and the router's public one")
args = parser.parse_args()

socket = zmq.Context().socket(zmq.SUB)
socket.set(zmq.HEARTBEAT_IVL, 1000)  # a router that vanished is noticed; the library connects again by itself
socket.set(zmq.SUBSCRIBE, b"gateway.request.")
if args.curve:
    socket.curve_publickey, socket.curve_secretkey = load_certificate(args.curve[0])
    socket.curve_serverkey = load_certificate(args.curve[1])[0]
socket.connect(args.events)

tokens, last = collections.Counter(), {}
try:
    while True:
        topic, header, body = socket.recv_multipart()
        event = msgpack.unpackb(body)
        count = event["node"], event["epoch"], event["topic"]
        if event["topic_sequence"] > last.get(count, event["topic_sequence"]) + 1:
            print(f"missed {event['topic_sequence'] - last[count] - 1} events", flush=True)
        last[count] = event["topic_sequence"]
        model = event.get("model", "-")
        tokens[model] += event.get("tokens_in", 0) + event.get("tokens_out", 0)
        print(f"{model}: {tokens[model]} tokens (+{event.get('tokens_out', 0)} out, status {event['status']})", flush=True)
except KeyboardInterrupt:
    pass
