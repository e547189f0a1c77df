"""The example workers keep to proto/02-WORKER.md: first against a router that is played here, envelope by envelope,
then at a real gateway: they join, share load, are missed when they die or hang, and leave. None of them shares code
with the gateway."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgpack
import pytest
import zmq

from harness.bus import free_base, header, new_id, read
from harness.gateway import KEY_VARIABLE, UPSTREAM_KEY, Gateway, target
from harness.http import request_once
from harness.process import BINARY, HttpProcess, clean_environment

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "workers"
SECONDS = 30  # against hanging
LOST_SECONDS = 3.0  # a silent worker is gone by then

FUNCTIONS = '''
import os, time

def who(messages, **request):
    return str(os.getpid())

def slowly(messages, **request):
    time.sleep(1.0)
    yield str(os.getpid())

def wrong(messages, **request):
    raise ValueError("no such thing")

def broken(messages, **request):
    raise RuntimeError("out of order")

def endless(messages, **request):
    while True:
        yield "x" * 1000

def long(messages, **request):
    return "y" * 3_000_000
'''


class Worker:
    """An example as a child process, with the functions above at hand."""

    def __init__(self, directory, file, *arguments):
        (directory / "functions.py").write_text(FUNCTIONS)
        self.log_path = directory / f"{file}-{os.urandom(4).hex()}.log"
        environment = {**clean_environment({}), "PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
        with open(self.log_path, "wb") as log:
            self.child = subprocess.Popen([sys.executable, EXAMPLES / file, *map(str, arguments)], env=environment,
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    @property
    def pid(self):
        return self.child.pid

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(SECONDS) == 0, self.log_path.read_text()

    def kill(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
            self.child.wait()


@pytest.fixture
def start_worker(tmp_path):
    started = []

    def start(file, *arguments):
        started.append(Worker(tmp_path, file, *arguments))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


# ---- a router of our own ----


class Router:
    """The workers socket of a router. Heartbeats of the worker are counted and left out."""

    def __init__(self):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{self.port}"
        self.peer = None
        self.heartbeats = 0

    def send(self, kind, body=b"", **members):
        self.socket.send_multipart([self.peer, header(kind, **members)] + ([body] if body else []))

    def receive(self, seconds=SECONDS):
        """The next envelope; None when there is none in time. The worker hears from us meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.socket.poll(min(300, max(0, deadline - time.monotonic()) * 1000)):
                peer, *frames = self.socket.recv_multipart()
                head, body = read(frames)
                assert head["v"][0] == 1
                if head["kind"] != "heartbeat":
                    self.peer = peer
                    return head, body
                self.heartbeats += 1
            elif self.peer is not None:
                self.send("heartbeat")
        return None

    def joined(self):
        """Waits for READY and answers it."""
        head, body = self.receive()
        assert head["kind"] == "ready", head
        self.send("ready", role="router", node="0" * 32)
        return head, body

    def request(self, content="Hello there", stream=False, credit=65536, target="m", **members):
        body = {"model": "m", "messages": [{"role": "user", "content": content}], **({"stream": True} if stream else {})}
        members = {"id": new_id(), "attempt": 1, "epoch": 3, "surface": "chat", "dialect": "openai_chat", "target": target,
                   "credit": credit, "deadline": 60000, **members}
        if stream:
            members["stream"] = True
        self.send("request", json.dumps(body).encode(), **members)
        return {key: members[key] for key in ("id", "attempt", "epoch")}

    def answer(self, names):
        """(first header of the answer, END, the bytes of it all); CHUNKs are counted and paid for."""
        first, data, sequence = None, b"", 0
        while True:
            head, body = self.receive()
            assert {key: head.get(key) for key in names} == names, head
            first = first or head
            data += body
            if head["kind"] == "end":
                return first, head, data
            assert head["kind"] == "chunk" and head.get("seq", 0) == sequence and 0 < len(body) <= 32768
            sequence += 1
            self.send("credit", **names, credit=len(body))

    def close(self):
        self.socket.close()
        self.context.term()


@pytest.fixture
def router():
    played = Router()
    yield played
    played.close()


@pytest.fixture(params=["echo", "function_model"])
def worker(request, router, start_worker):
    """One of the examples, joined to `router` with the model `m`."""
    option = {"echo": "--router", "function_model": "--routers"}[request.param]
    started = start_worker(f"{request.param}.py", option, router.endpoint, "--model", "m")
    started.ready = router.joined()
    return started


def test_ready(worker):
    head, body = worker.ready
    assert head["role"] == "worker" and 1 <= len(head["worker"]) <= 128
    assert len(head["node"]) == 32 and int(head["node"], 16) >= 0
    assert head["requests"] > 0
    assert msgpack.unpackb(body) == {"targets": [{"name": "m", "models": ["m"]}]}


def test_plain_answer(worker, router):
    first, end, data = router.answer(router.request("Hello there"))
    assert end["outcome"] == "ok" and end["calls"] == 1
    assert first["status"] == 200 and first["type"] == b"application/json" and not first.get("stream")
    answer = json.loads(data)
    assert answer["object"] == "chat.completion" and answer["model"] == "m"
    assert "there" in answer["choices"][0]["message"]["content"]


def streamed_text(data):
    events = data.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events[:-2]]
    assert deltas[-1]["finish_reason"] == "stop"
    return "".join(delta["delta"].get("content", "") for delta in deltas)


def test_stream(worker, router):
    first, end, data = router.answer(router.request("Hello there", stream=True))
    assert end["outcome"] == "ok"
    assert first["kind"] == "chunk" and first["stream"] and first["status"] == 200
    assert first["type"] == b"text/event-stream"
    assert "there" in streamed_text(data)


def test_credit_is_kept(worker, router):
    """With ten bytes at a time: never one more than was granted, and all of them in the end."""
    names = router.request("word " * 20, stream=True, credit=10)
    data, granted = b"", 10
    while True:
        head, body = router.receive()
        if head["kind"] == "end":
            break
        data += body
        assert len(data) <= granted
        if len(data) == granted:
            granted += 10
            router.send("credit", **names, credit=10)
    assert head["outcome"] == "ok" and "word" in streamed_text(data)


def test_without_credit_nothing_comes(worker, router):
    names = router.request(stream=True, credit=0)
    assert router.receive(0.7) is None
    router.send("cancel", **names, reason="client")
    _, end, data = router.answer(names)
    assert end["outcome"] == "cancelled" and data == b""


def test_cancel_of_a_call_that_is_over(worker, router):
    names = router.request()
    router.answer(names)
    router.send("cancel", **names)
    router.send("credit", **names, credit=100)
    _, end, _ = router.answer(router.request())
    assert end["outcome"] == "ok"


def test_wrong_request(worker, router):
    for body in (b"{", b"{}", b"[]", b'{"messages":[]}'):
        names = {"id": new_id(), "attempt": 1, "epoch": 0}
        router.send("request", body, **names, surface="chat", dialect="openai_chat", target="m", credit=65536)
        head, _ = router.receive()
        assert head["kind"] == "end" and head["outcome"] == "error" and head["error"] == "UPSTREAM_INVALID", body


def test_heartbeats(worker, router):
    """It says something every half second, also when it has nothing to say, and is content with heartbeats."""
    assert router.receive(2.6) is None
    assert router.heartbeats >= 4
    _, end, _ = router.answer(router.request())
    assert end["outcome"] == "ok"


def test_silent_router(worker, router):
    """Lost after 2 s; then it joins again, over a new connection and under the same name."""
    before = router.peer
    router.peer = None  # says nothing any more
    head, _ = router.receive(10)
    while head["kind"] != "ready":
        head, _ = router.receive(10)
    assert router.peer != before
    assert head["worker"] == worker.ready[0]["worker"]


def test_told_to_go(worker, router):
    before = router.peer
    router.send("goodbye", reason="close")
    head, _ = router.receive()
    while head["kind"] != "ready":
        head, _ = router.receive()
    assert router.peer != before
    router.send("ready", role="router", node="0" * 32)
    _, end, _ = router.answer(router.request())
    assert end["outcome"] == "ok"


def test_drain(worker, router):
    """What is under way ends in peace, what crosses the GOODBYE goes elsewhere."""
    under_way = router.request("Hello there", stream=True, credit=10)
    head, body = router.receive()
    assert head["kind"] == "chunk" and len(body) == 10
    worker.child.send_signal(signal.SIGTERM)
    head, _ = router.receive()
    assert head["kind"] == "goodbye" and head["reason"] == "drain"
    crossing = router.request()
    head, _ = router.receive()
    assert head["kind"] == "end" and head["error"] == "DRAINING" and head["id"] == crossing["id"]
    assert not head.get("calls")
    router.send("credit", **under_way, credit=65536)
    head, body = router.receive()
    while head["kind"] == "chunk":
        head, body = router.receive()
    assert head["kind"] == "end" and head["outcome"] == "ok" and head["id"] == under_way["id"]
    head, _ = router.receive()
    assert head["kind"] == "goodbye" and head["reason"] == "close"
    assert worker.child.wait(SECONDS) == 0


# ---- what only the second one does ----


@pytest.fixture
def serve_function(router, start_worker):
    def start(name):
        worker = start_worker("function_model.py", f"functions:{name}", "--routers", router.endpoint, "--model", "m")
        router.joined()
        return worker

    return start


def test_function_that_refuses(serve_function, router):
    serve_function("wrong")
    _, end, _ = router.answer(router.request())
    assert end["error"] == "UPSTREAM_INVALID" and end["err_text"] == "no such thing"


def test_function_that_fails(serve_function, router):
    serve_function("broken")
    _, end, _ = router.answer(router.request(stream=True))
    assert end["error"] == "UPSTREAM_ERROR"


def test_function_without_end(serve_function, router):
    """Waits for credit, goes on with it, stops at CANCEL, and lives on."""
    serve_function("endless")
    names = router.request(stream=True, credit=4000)
    received = 0
    while received < 4000:
        received += len(router.receive()[1])
    assert received == 4000 and router.receive(0.5) is None
    router.send("cancel", **names)
    head, _ = router.receive()
    assert head["kind"] == "end" and head["outcome"] == "cancelled"
    names = router.request(stream=True, credit=10)
    router.receive()
    router.send("cancel", **names)
    assert router.receive()[0]["outcome"] == "cancelled"


def test_deadline(serve_function, router):
    serve_function("endless")
    router.request(stream=True, credit=100, deadline=300)
    router.receive()
    head, _ = router.receive()
    assert head["kind"] == "end" and head["error"] == "UPSTREAM_TIMEOUT"


def test_long_plain_answer(serve_function, router):
    """More than fits an END: in CHUNKs, within its credit."""
    serve_function("long")
    first, end, data = router.answer(router.request(credit=65536))
    assert first["kind"] == "chunk" and first["type"] == b"application/json" and end["outcome"] == "ok"
    assert len(json.loads(data)["choices"][0]["message"]["content"]) == 3_000_000


def test_attached_call_begins_anew(serve_function, router):
    """It keeps no orphans: the same call with a higher epoch replaces the former one, which says nothing more."""
    serve_function("slowly")
    first = router.request()
    router.request(id=first["id"])  # a repeat
    again = router.request(id=first["id"], epoch=4, attach=True)
    _, end, _ = router.answer(again)
    assert end["outcome"] == "ok" and end["epoch"] == 4
    assert router.receive(1.0) is None


def test_more_than_it_takes(serve_function, router):
    serve_function("endless")
    for _ in range(64):
        router.request(stream=True, credit=0)
    router.request(stream=True, credit=0)
    head, _ = router.receive()
    assert head["kind"] == "end" and head["error"] == "SATURATED"


# ---- at a gateway ----


@pytest.fixture
def bus():
    return free_base()


@pytest.fixture
def gateway(tmp_path, module_upstream, bus):
    config = {"bus": {"listen": f"tcp://127.0.0.1:{bus}", "workers": {"accept": True}}}
    process = Gateway(tmp_path, [target(module_upstream.url)], config=config)
    try:
        yield process.wait_ready()
        process.stop()
    finally:
        process.kill()


@pytest.fixture
def join(gateway, bus, start_worker):
    """Starts function_model.py at the gateway."""

    def start(function, *arguments):
        return start_worker("function_model.py", f"functions:{function}", "--routers", f"tcp://127.0.0.1:{bus + 1}",
                            *arguments)

    return start


def models(gateway):
    return {row["id"] for row in request_once(gateway.port, "GET", "/v1/models").json()["data"]}


def chat(gateway, model, stream=False, content="Hello there"):
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": content}]}
    return request_once(gateway.port, "POST", "/v1/chat/completions", json.dumps(body).encode())


def content_of(answer):
    assert answer.status == 200, answer
    return answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("file, option, text", [("echo.py", "--router", "Hello there"),
                                                ("function_model.py", "--routers", "1 Hello\n2 there\n")])
def test_served_while_it_is_there(gateway, bus, start_worker, file, option, text):
    assert models(gateway) == {"test-model"}
    worker = start_worker(file, option, f"tcp://127.0.0.1:{bus + 1}", "--model", "mine")
    gateway.wait_until(lambda: "mine" in models(gateway), "serving the worker's model")
    assert content_of(chat(gateway, "mine")) == text
    answer = chat(gateway, "mine", stream=True)
    assert answer.header("content-type").startswith("text/event-stream")
    assert streamed_text(answer.body) == text
    assert content_of(chat(gateway, "test-model")) == "hello"  # the configured target goes on as before
    worker.stop()
    gateway.wait_until(lambda: models(gateway) == {"test-model"}, "without the model", LOST_SECONDS)
    assert chat(gateway, "mine").status == 404


def test_large_stream(gateway, bus, start_worker):
    """Many times the window: credit goes all the way back from the client."""
    start_worker("echo.py", "--router", f"tcp://127.0.0.1:{bus + 1}", "--model", "mine")
    gateway.wait_until(lambda: "mine" in models(gateway), "serving the worker's model")
    text = "0123456789" * 50_000
    assert streamed_text(chat(gateway, "mine", stream=True, content=text).body) == text


def wait_for(gateway, model):
    gateway.wait_until(lambda: model in models(gateway), f"serving {model}")


def test_two_share_the_load(gateway, join):
    workers = [join("who", "--model", "shared"), join("who", "--model", "shared")]
    wait_for(gateway, "shared")

    def who():
        return {content_of(chat(gateway, "shared")) for _ in range(8)}

    gateway.wait_until(lambda: who() == {str(worker.pid) for worker in workers}, "asking both")


def test_the_other_answers_for_a_killed_one(gateway, join):
    """Every request is answered, by the one that lives."""
    doomed, left = join("slowly", "--model", "slow"), join("slowly", "--model", "slow")
    wait_for(gateway, "slow")
    seen = set()
    with ThreadPoolExecutor(16) as pool:
        # Until both are members, so that both have requests when one dies.
        def both():
            seen.update(content_of(answer) for answer in pool.map(lambda _: chat(gateway, "slow"), range(4)))
            return seen == {str(doomed.pid), str(left.pid)}

        gateway.wait_until(both, "asking both")
        asked = [pool.submit(chat, gateway, "slow", stream=i % 2 == 0) for i in range(16)]
        time.sleep(0.3)  # they are with the workers, which think for a second
        doomed.child.kill()
        answers = [future.result(SECONDS) for future in asked]
    for number, answer in enumerate(answers):
        assert answer.status == 200, answer
        text = streamed_text(answer.body) if number % 2 == 0 else content_of(answer)
        assert text in (str(left.pid), str(doomed.pid))
    assert content_of(chat(gateway, "slow")) == str(left.pid)


def test_one_that_hangs_is_missed_and_welcome_again(gateway, join):
    worker = join("who", "--model", "mine")
    wait_for(gateway, "mine")
    worker.child.send_signal(signal.SIGSTOP)
    gateway.wait_until(lambda: "mine" not in models(gateway), "without the model", LOST_SECONDS)
    worker.child.send_signal(signal.SIGCONT)
    wait_for(gateway, "mine")
    assert content_of(chat(gateway, "mine")) == str(worker.pid)


def test_the_gateway_comes_back(gateway, tmp_path, module_upstream, join):
    """A worker waits for its router and joins it again."""
    worker = join("who", "--model", "mine")
    wait_for(gateway, "mine")
    arguments, log = gateway.arguments[1:], gateway.log_path
    gateway.kill()
    again = HttpProcess(arguments, gateway.port, log, "/readyz",
                        environment={"LOG_FORMAT": "json", KEY_VARIABLE: UPSTREAM_KEY})
    try:
        again.wait_ready()
        again.wait_until(lambda: "mine" in models(again), "serving the worker's model")
        assert content_of(chat(again, "mine")) == str(worker.pid)
        worker.stop()
        again.stop()
    finally:
        again.kill()


@pytest.mark.parametrize("file, option", [("echo.py", "--router"), ("function_model.py", "--routers")])
def test_with_curve(tmp_path, module_upstream, bus, start_worker, file, option):
    """Keys as `dynabus keys new` makes them; a key with another role stays outside."""
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    for role in ("router", "worker", "client"):
        subprocess.run([BINARY, "keys", "new", "--role", role, tmp_path / role], check=True, capture_output=True,
                       env=clean_environment({}))
        (allowed / role).write_bytes((tmp_path / role).read_bytes())
    config = {"bus": {"listen": f"tcp://127.0.0.1:{bus}", "workers": {"accept": True},
                      "curve": {"cert": str(tmp_path / "router"), "allowed": str(allowed)}}}

    def start(key, model):
        keys = [tmp_path / f"{key}_secret", tmp_path / "router"]
        options = ["--curve", *keys] if file == "echo.py" else ["--cert", keys[0], "--server", keys[1]]
        return start_worker(file, option, f"tcp://127.0.0.1:{bus + 1}", "--model", model, *options)

    gateway = Gateway(tmp_path, [target(module_upstream.url)], config=config)
    try:
        gateway.wait_ready()
        start("client", "stranger")
        start("worker", "mine")
        gateway.wait_until(lambda: "mine" in models(gateway), "serving the worker's model")
        assert chat(gateway, "mine").status == 200
        gateway.wait_until(lambda: gateway.log_lines(event="bus.refused", reason="role"), "turning the stranger away")
        assert "stranger" not in models(gateway)
        gateway.stop()
    finally:
        gateway.kill()
