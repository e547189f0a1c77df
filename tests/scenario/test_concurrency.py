"""How many calls of a target are in flight: no more than configured, over both cells; who finds no place waits, first
come, first served; who finds no room to wait is told at once."""

import json
import threading
import time

from harness.gateway import target
from harness.http import Connection, build_request, chat_once, request_once
from harness.upstream import DONE, answer_normally, chunk_event, completion

CHAT = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**CHAT, "stream": True}


def limited(start_gateway, upstream, **concurrency):
    return start_gateway([target(upstream.url, concurrency=concurrency)], arguments=("--cells", "2"))


class Holding:
    """A provider that answers when it is told to, and knows how many wait for it."""

    def __init__(self):
        self.go = threading.Event()
        self.lock = threading.Lock()
        self.now = self.most = 0

    def __call__(self, request, exchange):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.go.wait(20)
        with self.lock:
            self.now -= 1
        answer_normally(request, exchange)


def ask_many(gateway, count):
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(chat_once(gateway.port, CHAT).status))
               for _ in range(count)]
    for thread in threads:
        thread.start()
    return statuses, threads


def waiting(gateway):
    page = request_once(gateway.port, "GET", "/metrics").body.decode()
    return int(page.split("\ngateway_target_queue ")[1].split("\n")[0])


def until_waiting(gateway, count):
    deadline = time.monotonic() + 20
    while waiting(gateway) != count:
        assert time.monotonic() < deadline, f"{waiting(gateway)} of {count} wait"
        time.sleep(0.02)


def test_never_more_than_configured_and_all_are_served(start_gateway, upstream):
    provider = Holding()
    upstream.reset_to(provider)
    gateway = limited(start_gateway, upstream, max_concurrency=3, queue_size=100)
    statuses, threads = ask_many(gateway, 20)
    until_waiting(gateway, 17)
    upstream.wait_received(3)
    assert len(upstream.received()) == 3
    provider.go.set()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20 and provider.most == 3
    assert waiting(gateway) == 0


def test_who_finds_no_room_to_wait_is_told_at_once(start_gateway, upstream):
    provider = Holding()
    upstream.reset_to(provider)
    gateway = limited(start_gateway, upstream, max_concurrency=1, queue_size=1)
    statuses, threads = ask_many(gateway, 2)
    until_waiting(gateway, 1)
    upstream.wait_received(1)
    answer = chat_once(gateway.port, CHAT)
    assert (answer.status, answer.error["code"]) == (429, "provider_saturated")
    assert len(upstream.received()) == 1
    provider.go.set()
    for thread in threads:
        thread.join()
    assert statuses == [200, 200]


def test_who_waits_too_long_is_told_too(start_gateway, upstream):
    provider = Holding()
    upstream.reset_to(provider)
    gateway = limited(start_gateway, upstream, max_concurrency=1, queue_size=10, queue_timeout="200ms")
    statuses, threads = ask_many(gateway, 1)
    upstream.wait_received(1)
    answer = chat_once(gateway.port, CHAT)
    assert (answer.status, answer.error["code"]) == (429, "provider_saturated")
    provider.go.set()
    threads[0].join()
    assert statuses == [200]


def test_who_leaves_gives_up_the_place_in_the_queue(start_gateway, upstream):
    provider = Holding()
    upstream.reset_to(provider)
    gateway = limited(start_gateway, upstream, max_concurrency=1, queue_size=10)
    statuses, threads = ask_many(gateway, 1)
    upstream.wait_received(1)
    impatient = Connection(gateway.port)
    impatient.send(build_request("POST", "/v1/chat/completions", json.dumps(CHAT).encode()))
    until_waiting(gateway, 1)
    impatient.close()
    until_waiting(gateway, 0)
    provider.go.set()
    threads[0].join()
    assert statuses == [200]
    assert chat_once(gateway.port, CHAT).status == 200


def test_a_stream_holds_its_place_to_its_end(start_gateway, upstream):
    go_on = threading.Event()

    def flow(request, exchange):
        if not request.json().get("stream"):
            exchange.json(completion())
            return
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        go_on.wait(20)
        exchange.chunk(chunk_event(None, "stop") + DONE)
        exchange.end_stream()

    upstream.reset_to(flow)
    gateway = limited(start_gateway, upstream, max_concurrency=1, queue_size=10)
    streams = []
    stream = threading.Thread(target=lambda: streams.append(chat_once(gateway.port, STREAM)))
    stream.start()
    upstream.wait_received(1)
    statuses, threads = ask_many(gateway, 1)
    until_waiting(gateway, 1)
    assert len(upstream.received()) == 1
    go_on.set()
    stream.join()
    threads[0].join()
    assert statuses == [200] and b"[DONE]" in streams[0].body
