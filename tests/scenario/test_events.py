"""Events as an operator sees them: `dynabus tail`, what it says of gaps and of a gateway that is not there, and a
subscriber who never reads."""

import json
import os
import signal
import subprocess
import threading
import time

import msgpack
import pytest
import zmq

from harness.bus import free_base, header, read
from harness.fleet import until
from harness.gateway import target
from harness.http import Connection, chat_once, request_once
from harness.process import BINARY, FLAT_MEMORY, clean_environment, memory_bound
from harness.upstream import chunk_event

SECONDS = 30  # against hanging
CHAT = {"model": "test-model", "messages": [{"role": "user", "content": "Hello"}]}


class Tail:
    def __init__(self, *arguments, **environment):
        self.child = subprocess.Popen([BINARY, "tail", *map(str, arguments)], env=clean_environment(environment),
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.events = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.child.stdout:
            self.events.append(json.loads(line))

    def wait_for(self, n):
        deadline = time.monotonic() + SECONDS
        while len(self.events) < n:
            assert time.monotonic() < deadline and self.child.poll() is None, self.events
            time.sleep(0.02)
        return self.events

    def stop(self, number=signal.SIGINT):
        self.child.send_signal(number)
        assert self.child.wait(SECONDS) == 0
        self.reader.join(SECONDS)
        errors = self.child.stderr.read()
        self.child.stderr.close()
        return errors


@pytest.fixture
def tail():
    started = []

    def start(*arguments, **environment):
        started.append(Tail(*arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        if one.child.poll() is None:
            one.child.kill()
            one.child.wait()


def start_with_bus(start_gateway, upstream, base=None, **options):
    base = base or free_base()
    gateway = start_gateway([target(upstream.url)], config={"bus": {"listen": f"tcp://127.0.0.1:{base}"}}, **options)
    gateway.bus, gateway.events = f"tcp://127.0.0.1:{base}", f"tcp://127.0.0.1:{base + 2}"
    return gateway


def ask(gateway, n=1):
    for _ in range(n):
        assert chat_once(gateway.port, CHAT).status == 200


def test_tail_from_the_beginning_and_live(start_gateway, upstream, tail):
    gateway = start_with_bus(start_gateway, upstream)
    ask(gateway, 5)
    assert chat_once(gateway.port, {"model": "unheard-of", "messages": []}).status in (400, 404)
    here = tail("--bus", gateway.bus, "--since", "0", "gateway.request.")
    here.wait_for(6)
    ask(gateway, 3)
    events = here.wait_for(9)
    assert here.stop() == ""
    assert [event["sequence"] for event in events] == sorted({event["sequence"] for event in events})
    assert [event["topic_sequence"] for event in events if event["topic"] == "gateway.request.completed"] == list(range(1, 9))
    assert events[0]["model"] == "test-model" and events[0]["status"] == 200 and events[0]["model_listed"] is True
    failed = [event for event in events if event["topic"] == "gateway.request.failed"]
    assert len(failed) == 1 and failed[0]["model_listed"] is False
    assert len({event["node"] for event in events}) == 1 and len(events[0]["node"]) == 32

    later = tail("--bus", gateway.bus, "--since", events[4]["sequence"], "gateway.request.completed")
    assert [event["sequence"] for event in later.wait_for(4)] == [
        event["sequence"] for event in events[4:] if event["topic"] == "gateway.request.completed"]
    assert later.stop(signal.SIGTERM) == ""


def test_tail_goes_on_when_the_gateway_is_there_again(start_gateway, upstream, tail):
    base = free_base()
    gateway = start_with_bus(start_gateway, upstream, base)
    ask(gateway, 2)
    here = tail("--bus", gateway.bus, "--since", "0", "gateway.request.")
    here.wait_for(2)
    gateway.stop()
    again = start_with_bus(start_gateway, upstream, base)
    ask(again, 3)
    events = here.wait_for(5)
    assert here.stop() == ""
    assert [event["sequence"] for event in events[2:]] == [1, 2, 3]
    assert events[1]["node"] != events[2]["node"]


class ShortMemory:
    """A publisher that tells again only the last three events, and when it is asked publishes those in `bursts` first."""

    def __init__(self, base, bursts):
        self.context, self.told, self.questions = zmq.Context(), 0, 0
        self.events = self.context.socket(zmq.XPUB)
        self.events.bind(f"tcp://127.0.0.1:{base + 2}")
        self.clients = self.context.socket(zmq.ROUTER)
        self.clients.bind(f"tcp://127.0.0.1:{base}")
        for one in (self.events, self.clients):
            one.setsockopt(zmq.LINGER, 0)
            one.setsockopt(zmq.RCVTIMEO, SECONDS * 1000)
        self.thread = threading.Thread(target=self.run, args=(bursts,), daemon=True)
        self.thread.start()

    @staticmethod
    def map(number):
        return msgpack.packb({"topic": "t", "node": "a" * 32, "epoch": 1, "sequence": number, "topic_sequence": number})

    def publish(self, n):
        for number in range(self.told + 1, self.told + n + 1):
            self.events.send_multipart([b"t", header("event", topic="t", event_seq=number), self.map(number)])
        self.told += n

    def run(self, bursts):
        assert self.events.recv() == b"\x01"
        while self.questions < len(bursts):
            peer, *frames = self.clients.recv_multipart()
            request, _ = read(frames)
            if request["kind"] != "request":
                continue
            self.publish(bursts[self.questions])
            self.questions += 1
            time.sleep(0.1)  # they are there before the answer is
            kept = range(max(1, request.get("since", 0), self.told - 2), self.told + 1)
            body = b"".join(map(self.map, kept))
            self.clients.send_multipart([peer, header(
                "end", id=request["id"], outcome="ok", status=200, type="application/msgpack", bytes=len(body),
                node="a" * 32, since=self.told + 1, event_seq=self.told), body])

    def close(self):
        self.thread.join(SECONDS)
        self.context.destroy(linger=0)


def test_what_is_told_again_takes_nothing_of_what_waits(tail):
    """A question is answered with less than what came meanwhile: at the start, and when it looks once more."""
    base = free_base()
    publisher = ShortMemory(base, bursts=(10, 10))
    here = tail("--bus", f"tcp://127.0.0.1:{base}", "--since", "0")
    events = here.wait_for(20)
    publisher.close()
    assert [event["sequence"] for event in events] == list(range(1, 21))
    assert here.stop() == ""


def test_tail_ends_when_nobody_reads_any_more(start_gateway, upstream):
    gateway = start_with_bus(start_gateway, upstream)
    ask(gateway)
    for since in ([], ["--since", "0"]):
        child = subprocess.Popen([BINARY, "tail", "--bus", gateway.bus, *since], env=clean_environment({}),
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        child.stdout.close()
        assert child.wait(SECONDS) == 0
        assert child.stderr.read() == ""
        child.stderr.close()


@pytest.mark.parametrize("arguments,words", [
    (["--bus", "tcp://127.0.0.1:1"], "nobody publishes at tcp://127.0.0.1:1"),
    (["--bus", "tcp://192.0.2.1:7400"], "not on this host"),
    (["--bus", "nonsense"], "'nonsense' is not an endpoint"),
    (["--since", "x"], "--since takes the number"),
    (["one", "two"], "usage"),
])
def test_tail_says_what_is_wrong(arguments, words):
    done = subprocess.run([BINARY, "tail", *arguments], env=clean_environment({}), capture_output=True, text=True,
                          timeout=SECONDS)
    assert done.returncode != 0 and words in done.stderr and done.stdout == "", done


def test_events_again_need_a_key_where_requests_do(start_gateway, upstream, tail):
    gateway = start_with_bus(start_gateway, upstream, environment={"MASTER_KEY": "the-master-key"})
    headers = {"Authorization": "Bearer the-master-key"}
    assert chat_once(gateway.port, CHAT, headers).status == 200
    done = subprocess.run([BINARY, "tail", "--bus", gateway.bus, "--since", "0"], env=clean_environment({}),
                          capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 1 and "API key" in done.stderr, done
    here = tail("--bus", gateway.bus, "--since", "0", "gateway.request.", MASTER_KEY="the-master-key")
    assert here.wait_for(1)[0]["key_id"] == "master"
    assert here.stop() == ""


def test_who_leaves_a_stream_has_its_cost_told(start_gateway, upstream, tail):
    def goes_on(request, exchange):
        exchange.start_stream()
        for word in ("one", "two", "three"):
            exchange.chunk(chunk_event(word))
        exchange.wait_for_close()

    upstream.reset_to(goes_on)
    base = free_base()
    config = {"bus": {"listen": f"tcp://127.0.0.1:{base}"}}
    gateway = start_gateway([target(upstream.url, models=["gpt-4o-mini"])], config=config)
    with Connection(gateway.port) as connection:
        answer = connection.start_chat(json.dumps({**CHAT, "model": "gpt-4o-mini", "stream": True}).encode())
        seen = b""
        for piece in connection.pieces(answer):
            seen += piece
            if b"three" in seen:
                break
    (event,) = tail("--bus", f"tcp://127.0.0.1:{base}", "--since", "0", "gateway.request.").wait_for(1)
    assert event["topic"] == "gateway.request.failed" and event["estimated"] is True
    assert event["tokens_out"] == 3 and event["tokens_in"] > 0 and event["cost_usd"] > 0
    assert event["attempt_list"][0]["cost_usd"] == event["cost_usd"]
    paid = metrics(gateway)["gateway_request_cost_usd_total"]
    assert list(paid.values()) == [pytest.approx(event["cost_usd"])]


def test_a_bridged_request_tells_what_was_lost(start_gateway, upstream, tail):
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
               "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 10, "output_tokens": 5}}
    upstream.reset_to(lambda request, exchange: exchange.json(message))
    base = free_base()
    config = {"bus": {"listen": f"tcp://127.0.0.1:{base}"}}
    claude = target(upstream.url, "claude", provider="anthropic", models=["claude-sonnet-4-5"])
    gateway = start_gateway([claude], config=config)
    answer = chat_once(gateway.port, {**CHAT, "model": "claude-sonnet-4-5", "seed": 7})
    assert answer.status == 200 and answer.header("x-dynabus-degraded") == "seed"
    (event,) = tail("--bus", f"tcp://127.0.0.1:{base}", "--since", "0", "gateway.request.").wait_for(1)
    assert event["degraded"] == "seed" and event["estimated"] is False and "warnings" not in event
    parts = sum(value for name, value in event.items() if name.startswith("cost_") and name.endswith("_usd"))
    assert event["cost_usd"] > 0 and parts - event["cost_usd"] == pytest.approx(event["cost_usd"])


def test_a_subscriber_who_never_reads_costs_requests_and_memory_nothing(start_gateway, upstream):
    """Many events, each to five who sleep: requests are answered as before, every event is published, and what the
    gateway holds for them is bounded."""
    gateway = start_with_bus(start_gateway, upstream, environment=FLAT_MEMORY)
    ask(gateway, 50)
    context = zmq.Context()
    sleepers = []
    for _ in range(5):
        sleeper = context.socket(zmq.SUB)
        sleeper.setsockopt(zmq.LINGER, 0)
        sleeper.setsockopt(zmq.RCVHWM, 1)
        sleeper.setsockopt(zmq.RCVBUF, 4096)
        sleeper.setsockopt(zmq.SUBSCRIBE, b"")
        sleeper.connect(gateway.events)
        sleepers.append(sleeper)
    time.sleep(0.3)
    before = gateway.resident_bytes()
    refused = {"model": "x" * 500, "messages": [{"role": "user", "content": "Hello"}]}
    answered = [0] * 4

    def hammer(index):
        with Connection(gateway.port) as connection:
            for _ in range(3000):
                assert connection.chat(refused).status == 404
                answered[index] += 1

    threads = [threading.Thread(target=hammer, args=(index,)) for index in range(len(answered))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answered == [3000] * 4
    ask(gateway)
    # 4,096 events of about 1.5 KB wait for each of the five; they share the bytes of what they all wait for.
    assert gateway.resident_bytes() - before < memory_bound(64 * 1024 * 1024)
    until(lambda: metrics(gateway)["gateway_events_published_total"][""] >= 12051, "each event is published")
    page = metrics(gateway)
    assert page["gateway_hook_events_dropped_total"] == {'{subject="queue"}': 0, '{subject="refused"}': 0}
    for sleeper in sleepers:
        sleeper.close()
    context.term()


def metrics(gateway):
    """{name: {labels: value}}"""
    answer = request_once(gateway.port, "GET", "/metrics")
    assert answer.status == 200
    found = {}
    for line in answer.body.decode().splitlines():
        if not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            name, brace, labels = series.partition("{")
            found.setdefault(name, {})[brace + labels] = float(value)
    return found
