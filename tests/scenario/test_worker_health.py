"""What a worker says of its targets' health, to whom: 02-WORKER, Health, with a router of the test's own."""

import json
import os
import time

import msgpack
import pytest
import zmq

from harness.fleet import Fleet
from harness.upstream import answer_normally

BREAKER = {"failure_threshold": 1, "timeout": "60s"}
BODY = b'{"model":"test-model","messages":[{"role":"user","content":"x"}]}'
WAIT_SECONDS = 20


class Router:
    """A workers port that speaks a minor version of its own."""

    def __init__(self, minor, base):
        self.minor = minor
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(f"tcp://127.0.0.1:{base + 1}")
        self.peers = []
        self.heartbeats = {}  # of each peer: (when, body)

    def send(self, peer, kind, body=b"", **members):
        header = msgpack.packb({"v": [1, self.minor], "kind": kind, **members}, use_bin_type=True)
        self.socket.send_multipart([peer, header] + ([body] if body else []))

    def take(self, wait_ms=100):
        """The next envelope, or None; heartbeats are kept, READY is answered."""
        if not self.socket.poll(wait_ms):
            return None
        peer, header, *body = self.socket.recv_multipart()
        head = msgpack.unpackb(header, raw=False)
        if head["kind"] == "ready":
            self.peers.append(peer)
            self.send(peer, "ready", role="router", node="0" * 32)
        elif head["kind"] == "heartbeat":
            self.heartbeats.setdefault(peer, []).append((time.monotonic(), body[0] if body else b""))
            self.send(peer, "heartbeat")
        return peer, head

    def until(self, condition, what):
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, what
            self.take()

    def targets(self, peer):
        """What was said last."""
        bodies = [body for _, body in self.heartbeats.get(peer, []) if body]
        return {row["target"]: row for row in msgpack.unpackb(bodies[-1], raw=False)["targets"]} if bodies else {}

    def close(self):
        self.socket.close()
        self.context.term()


@pytest.fixture
def scene(tmp_path, upstream):
    made = []

    def make(minor):
        fleet = Fleet(tmp_path, upstream.url, routers=1, cells=2)
        config = json.loads(fleet.config.read_text())
        config["targets"][0]["circuit_breaker"] = BREAKER
        fleet.config.write_text(json.dumps(config))
        router = Router(minor, int(fleet.endpoints[0].rsplit(":", 1)[1]))
        made.extend([fleet, router])
        fleet.provider()
        router.until(lambda: len(router.peers) == 2, "both cells join")
        return router

    yield make
    for one in made:
        one.close()


def fail_once(router, upstream):
    upstream.reset_to(lambda request, exchange: exchange.json({"error": {"message": "no"}}, 503))
    router.send(router.peers[0], "request", BODY, id=os.urandom(16), attempt=1, surface="chat", dialect="openai_chat",
                target="upstream", model="test-model", credit=65536)


def test_an_open_breaker_is_told_by_all_cells(scene, upstream):
    router = scene(2)
    router.until(lambda: all(router.targets(peer) for peer in router.peers), "both say how they are")
    assert all(router.targets(peer)["upstream"]["state"] == "closed" for peer in router.peers)
    fail_once(router, upstream)
    router.until(lambda: all(router.targets(peer)["upstream"]["state"] == "open" for peer in router.peers),
                 "both say that it is open")
    assert all(59000 <= router.targets(peer)["upstream"]["retry_ms"] <= 60000 for peer in router.peers)


def test_figures_of_models_come_with_the_next(scene, upstream):
    router = scene(2)
    upstream.reset_to(answer_normally)
    router.send(router.peers[0], "request", BODY, id=os.urandom(16), attempt=1, surface="chat", dialect="openai_chat",
                target="upstream", model="test-model", credit=65536)
    router.until(lambda: "models" in router.targets(router.peers[1]).get("upstream", {}), "figures of the model")
    ttft, p95, total, ewma, samples = router.targets(router.peers[1])["upstream"]["models"]["test-model"]
    assert samples == 1 and total > 0 and ewma > 0 and ttft == p95 == 0


def test_a_router_of_1_1_is_told_nothing(scene, upstream):
    router = scene(1)
    fail_once(router, upstream)
    router.until(lambda: all(len(router.heartbeats.get(peer, [])) > 3 for peer in router.peers), "they live")
    assert not any(body for told in router.heartbeats.values() for _, body in told)
