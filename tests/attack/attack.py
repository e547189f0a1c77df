"""Attacks the three ports of a running gateway's bus with what no honest peer sends, for a while:

    attack.py [SECONDS] [SEED]

Raw bytes in place of ZMTP (greetings of every version, commands and frames with lying lengths, cut anywhere), and
whole messages made from the committed vectors with bytes changed, frames added and frames left out. Once a second
an honest client asks over HTTP and over the bus, and has to be answered. At the end the gateway has to leave
cleanly. Run it with the sanitizer build (DYNABUS_BINARY): that is what turns a small mistake into a loud one."""

import json
import random
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import zmq

from harness import bus
from harness.http import chat_once
from harness.process import HttpProcess, free_port

VECTORS = Path(__file__).resolve().parents[2] / "proto" / "vectors"
GOOD = {"model": "mock", "messages": [{"role": "user", "content": "x"}]}
GREETINGS = [
    b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31),
    b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16) + b"\x01" + bytes(31),
    b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15) + b"\x00" + bytes(31),
    b"\xff" + bytes(8) + b"\x7f\x03\x00PLAIN" + bytes(15) + b"\x00" + bytes(31),
    b"\xff" + bytes(7) + b"\x01\x7f\x01\x05\x00\x00",  # ZMTP 2.0
    b"\x01\x00",                                       # ZMTP 1.0
]
PIECE_BYTES_MAX = 4096
AT_ONCE = 6


def vectors():
    found = []
    for path in sorted(VECTORS.rglob("*.json")):
        for case in json.loads(path.read_text()):
            if isinstance(case, dict) and "header" in case:
                frames = [case["header"]] + ([case["body"]] if case.get("body") else [])
                found.append([bytes.fromhex(frame) for frame in frames])
    assert found
    return found


def frame(chance, payload, command=False):
    length = len(payload)
    if chance.random() < 0.15:
        length = chance.choice([0, 1, length + 1, 2**31, 2**63 - 1, 2**64 - 1])
    flags = (4 if command else 0) | chance.choice([0, 0, 0, 1])
    if chance.random() < 0.05:
        flags = chance.randrange(256)
    if length > 255 or chance.random() < 0.2:
        return bytes([flags | 2]) + length.to_bytes(8, "big") + payload
    return bytes([flags, length]) + payload


def command(chance):
    name = chance.choice([b"READY", b"PING", b"PONG", b"ERROR", b"SUBSCRIBE", b"CANCEL", b"HELLO", b"INITIATE"])
    if chance.random() < 0.5:
        kind = chance.choice([b"DEALER", b"SUB", b"ROUTER", b"XSUB", b"REQ"])
        payload = b"\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
        if chance.random() < 0.3:
            payload += b"\x08Identity" + (5).to_bytes(4, "big") + chance.randbytes(5)
    else:
        payload = chance.randbytes(chance.randrange(64))
    return frame(chance, bytes([len(name)]) + name + payload, command=True)


def mutate(chance, message):
    frames = [bytearray(part) for part in message]
    for _ in range(chance.randrange(4)):
        part = chance.choice(frames)
        if part and chance.random() < 0.7:
            part[chance.randrange(len(part))] = chance.randrange(256)
        elif part:
            del part[chance.randrange(len(part)):]
    if chance.random() < 0.2:
        frames.insert(chance.randrange(len(frames) + 1), bytearray(chance.randbytes(chance.randrange(200))))
    if chance.random() < 0.1:
        frames.pop()
    return [bytes(part) for part in frames] or [b""]


def raw_bytes(chance, known):
    if chance.random() < 0.15:
        return chance.randbytes(chance.randrange(PIECE_BYTES_MAX))
    stream = chance.choice(GREETINGS)
    if chance.random() < 0.8:
        stream += frame(chance, b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER", command=True)
    for _ in range(chance.randrange(12)):
        if chance.random() < 0.4:
            stream += command(chance)
        else:
            stream += b"".join(frame(chance, part) for part in mutate(chance, chance.choice(known)))
    return stream[:chance.randrange(1, len(stream) + 1)] if chance.random() < 0.3 else stream


class Attack:
    def __init__(self, base, seed):
        self.base = base
        self.seed = seed
        self.known = vectors()
        self.over = threading.Event()
        self.connections = 0
        self.messages = 0

    def raw(self, number):
        chance = random.Random(f"{self.seed}-raw-{number}")
        while not self.over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.base + chance.randrange(3)), timeout=2) as peer:
                    peer.settimeout(0.05)
                    peer.sendall(raw_bytes(chance, self.known))
                    self.connections += 1
                    if chance.random() < 0.3:
                        peer.recv(PIECE_BYTES_MAX)
            except OSError:
                continue

    def mutated(self, number):
        chance = random.Random(f"{self.seed}-mutated-{number}")
        context = zmq.Context()
        while not self.over.is_set():
            try:
                peer = context.socket(zmq.DEALER)
            except zmq.ZMQError:  # too many that still linger
                time.sleep(0.05)
                continue
            peer.setsockopt(zmq.LINGER, 20)
            peer.setsockopt(zmq.SNDTIMEO, 200)
            peer.connect(f"tcp://127.0.0.1:{self.base + chance.randrange(2)}")
            try:
                for _ in range(chance.randrange(1, 40)):
                    peer.send_multipart(mutate(chance, chance.choice(self.known)))
                    self.messages += 1
            except zmq.ZMQError:
                pass  # it was cut off, as it should be
            peer.close()
        context.term()

    def start(self):
        threads = [threading.Thread(target=self.raw, args=(i,)) for i in range(AT_ONCE)]
        threads += [threading.Thread(target=self.mutated, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        return threads


def ask_honestly(port, base):
    answer = chat_once(port, GOOD)
    assert answer.status == 200, (answer.status, answer.body)
    client = bus.Client(f"tcp://127.0.0.1:{base}")
    try:
        asked = client.request(json.dumps(GOOD).encode())
        end = client.until_end(asked)[-1][0]
        assert end["outcome"] == "ok", end
    finally:
        client.socket.close()


def main(seconds, seed):
    base = bus.free_base()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        gateway = HttpProcess(
            ["serve", "--dev", "--listen", f"127.0.0.1:{port}", "--bus", f"tcp://127.0.0.1:{base}", "--cells", "2"],
            port, Path(folder) / "gateway.log", "/readyz", environment={"LOG_FORMAT": "json"},
        )
        try:
            gateway.wait_ready()
            attack = Attack(base, seed)
            threads = attack.start()
            asked = 0
            try:
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    ask_honestly(port, base)
                    asked += 1
                    time.sleep(min(1, max(0, until - time.monotonic())))
            finally:
                attack.over.set()
                for thread in threads:
                    thread.join()
            ask_honestly(port, base)
            assert attack.connections > 0 and attack.messages > 0
            gateway.stop()
            gateway.assert_clean_log()
        finally:
            gateway.kill()
    print(f"attack seed={seed} connections={attack.connections} messages={attack.messages} honest={asked + 1} answered")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60,
         int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**31))
