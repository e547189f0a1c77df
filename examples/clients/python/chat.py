"""Asks a model over the Dynabus bus (proto/03-CLIENT.md). usage: chat.py chat|stream|cancel MODEL TEXT
The router is at DYNABUS_BUS (tcp://127.0.0.1:7400); DYNABUS_API_KEY is sent along."""
import json
import os
import sys

import msgpack
import zmq

WINDOW = 65536  # bytes that may come before more is granted


def main(mode, model, text):
    socket, request = zmq.Context.instance().socket(zmq.DEALER), os.urandom(16)
    socket.linger, socket.heartbeat_ivl, socket.rcvhwm = 500, 1000, 0
    socket.connect(os.environ.get("DYNABUS_BUS", "tcp://127.0.0.1:7400"))

    def send(kind, *body, **members):
        socket.send_multipart([msgpack.packb({"v": [1, 1], "kind": kind, "id": request, **members}), *body])

    stream, cred = mode != "chat", os.environ.get("DYNABUS_API_KEY", "").encode()
    chat = {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}
    send("request", json.dumps(chat).encode(), surface="chat", stream=stream, dialect="openai_chat", cred=cred,
         credit=WINDOW)
    held, taken, expected = b"", 0, 0
    while socket.poll(60_000):
        head, *rest = socket.recv_multipart()
        header, body = msgpack.unpackb(head), b"".join(rest)
        kind, seq = header["kind"], header.get("seq", 0)
        if kind == "goodbye" and header.get("reason") != "drain":
            sys.exit(f"the router told us to go: {header.get('reason')}")
        if header.get("id") != request or kind not in ("chunk", "end"):
            continue
        if kind == "end" and header["outcome"] != "ok":
            sys.exit(header.get("err_text") or header.get("error") or header["outcome"])
        if kind == "chunk" and seq != expected and (stream or seq > 0):
            sys.exit("a piece of the answer is missing")
        if not stream and (kind == "chunk" and seq == 0 or kind == "end" and body):
            held = b""  # a plain answer may start over until its end
        held, taken, expected = held + body, taken + len(body), seq + 1
        if stream:
            *events, held = held.split(b"\n\n")
            for event in (json.loads(event[6:]) for event in events if event.startswith(b"data: {")):
                word = "".join(choice["delta"].get("content") or "" for choice in event["choices"])
                print(word, end="", flush=True)
                if mode == "cancel" and word:
                    mode = send("cancel", reason="user")  # its END will say `cancelled`
        if kind == "end":
            return print("" if stream else json.loads(held)["choices"][0]["message"]["content"])
        if taken >= WINDOW // 2:
            taken = send("credit", credit=taken) or 0
    sys.exit("no answer within a minute")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
