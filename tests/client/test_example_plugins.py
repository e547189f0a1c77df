"""The example plugins, written from proto/05-PLUGIN.md, at a real gateway: each votes as it says, what is configured
holds while it is away, and it is asked again when it comes back."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from harness.bus import free_base
from harness.gateway import KEY_VARIABLE, UPSTREAM_KEY, target
from harness.http import Connection, chat_once, sse_events
from harness.process import BINARY, HttpProcess, clean_environment, free_port
from harness.upstream import DONE, chunk_event, completion

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "plugins"
SECONDS = 30  # against hanging
CHAT = {"model": "test-model", "messages": [{"role": "user", "content": "hello"}]}
STREAM = CHAT | {"stream": True}


class Plugin:
    """A plugin as a child process."""

    def __init__(self, directory, *command):
        self.log_path = directory / f"plugin-{free_port()}.log"
        environment = {**clean_environment({}), "PYTHONDONTWRITEBYTECODE": "1"}
        with open(self.log_path, "wb") as log:
            self.child = subprocess.Popen([sys.executable, *map(str, command)], env=environment, stdout=log,
                                          stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT)

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(SECONDS) == 0, self.log_path.read_text()
        assert self.log_path.read_text() == ""

    def kill(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
            self.child.wait()


@pytest.fixture
def scene(start_gateway, upstream, tmp_path):
    """start(name, ..) gives a gateway that has the plugin configured; its `join(file, ..)` starts one of that name."""
    started = []

    def start(name, cells=1, bus=None, **entry):
        base = free_base()
        plugin = {"name": name, "type": "guardrail", "enabled": True, "timeout": "5s", **entry}
        gateway = start_gateway([target(upstream.url)], config={
            "bus": {"listen": f"tcp://127.0.0.1:{base}", **(bus or {})}, "plugins": [plugin]},
            arguments=["--cells", str(cells)])

        def join(*arguments, waits=True):
            count = len(gateway.log_lines(event="router.plugin.joined"))
            command = EXAMPLES / f"{name}.py", *arguments, "--router", f"tcp://127.0.0.1:{base + 1}"
            started.append(Plugin(tmp_path, *command))
            if waits:
                gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) >= count + cells,
                                   f"{name} has joined")
            return started[-1]

        gateway.join = join
        return gateway

    yield start
    for plugin in started:
        plugin.kill()


def ask(text):
    return CHAT | {"messages": [{"role": "user", "content": text}]}


def left(gateway, count=1):
    gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.left")) >= count, "it is gone")


# ---- deny.py ----


def test_deny(scene, upstream):
    gateway = scene("deny", required=True)
    plugin = gateway.join("swordfish", "open sesame")
    before = len(upstream.received())
    for text in ("say Swordfish", "OPEN SESAME!", "swordfish"):
        answer = chat_once(gateway.port, ask(text))
        assert (answer.status, answer.error["code"]) == (400, "request_rejected")
        assert answer.error["message"] == ("request rejected by plugin deny at before_request: "
                                           "it holds a word that is not allowed here")
    parts = [{"type": "text", "text": "fine"}, {"type": "text", "text": "a swordfish"}]
    assert chat_once(gateway.port, ask(parts)).status == 400
    assert len(upstream.received()) == before
    for text in ("hello", "swordfishes are fish", "open the sesame"):
        assert chat_once(gateway.port, ask(text)).status == 200
    assert chat_once(gateway.port, STREAM).status == 200
    plugin.stop()


# ---- amend.py ----


def test_amend_keeps_what_it_does_not_name(scene, upstream):
    gateway = scene("amend", type="transform")
    plugin = gateway.join("--system", 'Say "no".', "--max-tokens", "20")
    sent = b'{ "model":"test-model","temperature": 0.50, "max_tokens" : 900,"messages":[{"role":"user","content":"x"}]}'
    assert chat_once(gateway.port, sent).status == 200
    assert upstream.received()[-1].body == sent.replace(b"900", b"20").replace(
        b'"messages":[', b'"messages":[{"role": "system", "content": "Say \\"no\\"."},')
    plugin.stop()


@pytest.mark.parametrize("limits, expected", [
    ({}, {"max_tokens": 20}), ({"max_tokens": None}, {"max_tokens": 20}), ({"max_tokens": 20}, {"max_tokens": 20}),
    ({"max_tokens": 3}, {"max_tokens": 3}), ({"max_completion_tokens": 21}, {"max_completion_tokens": 20}),
])
def test_amend_lowers_and_never_raises(scene, upstream, limits, expected):
    gateway = scene("amend", type="transform")
    gateway.join("--max-tokens", "20")
    for body in (CHAT | limits, STREAM | limits):
        assert chat_once(gateway.port, body).status == 200
        got = json.loads(upstream.received()[-1].body)
        assert {key: value for key, value in got.items() if key.endswith("_tokens")} == expected
        assert got["messages"] == CHAT["messages"]


# ---- stream.py ----


def says(upstream, *pieces):
    def stream(request, exchange):
        if not request.json().get("stream"):
            exchange.json(completion("".join(pieces)))
            return
        exchange.start_stream()
        for piece in pieces:
            exchange.chunk(chunk_event(piece))
        exchange.chunk(chunk_event("", finish="stop"))
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(stream)


def streamed(answer):
    events = [json.loads(event) for event in sse_events(answer.body) if event != b"[DONE]"]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event.get("choices", []))


def plain(answer):
    return answer.json()["choices"][0]["message"]["content"]


PHRASE = "caf\u00e9 Project X"


def splits():
    """The text in two pieces at every place, and letter by letter."""
    text = f"of {PHRASE}, and project y"
    return [[text[:at], text[at:]] for at in range(1, len(text))] + [list(text), [text]]


def test_stream_masks_wherever_the_phrase_is_split(scene, upstream):
    gateway = scene("stream")
    plugin = gateway.join("caf\u00e9 project x", "sesame")
    for pieces in splits():
        says(upstream, *pieces)
        answer = chat_once(gateway.port, STREAM)
        assert streamed(answer) == "of ***, and project y", pieces
        assert sse_events(answer.body)[-1] == b"[DONE]"
    assert plain(chat_once(gateway.port, CHAT)) == "of ***, and project y"
    says(upstream, "one sesame, two SESAME, caf\u00e9 proj")
    assert streamed(chat_once(gateway.port, STREAM)) == "one ***, two ***, caf\u00e9 proj"
    plugin.stop()


def test_stream_cuts_before_the_phrase(scene, upstream):
    gateway = scene("stream")
    gateway.join("--cut", "caf\u00e9 project x")
    for pieces in splits():
        says(upstream, *pieces)
        answer = chat_once(gateway.port, STREAM)
        assert streamed(answer) == "of ", pieces
        error = json.loads(sse_events(answer.body)[-1])["error"]
        assert error["code"] == "response_rejected"
        assert error["message"] == "response rejected by plugin stream at during_stream: it says what is not to be said"
    answer = chat_once(gateway.port, CHAT)
    assert (answer.status, answer.error["code"]) == (502, "response_rejected")


def test_text_that_begins_no_phrase_does_not_wait(scene, upstream):
    """What came leaves before the provider says more."""
    gateway = scene("stream")
    gateway.join("sesame")
    goes_on = threading.Event()

    def stream(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("hello ses"))
        assert goes_on.wait(SECONDS)
        exchange.chunk(chunk_event("sion"))
        exchange.chunk(chunk_event("", finish="stop"))
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(stream)
    with Connection(gateway.port) as connection:
        pieces = connection.pieces(connection.start_chat(STREAM))
        seen = b""
        while b"hello " not in seen:
            seen += next(pieces)
        assert b"ses" not in seen
        goes_on.set()
        seen += b"".join(pieces)
    assert b"sion" in seen and sse_events(seen)[-1] == b"[DONE]"


def test_a_stopped_stream_plugin_ends_what_it_began(scene, upstream):
    """It leaves when the stream whose text it knows has ended."""
    gateway = scene("stream")
    plugin = gateway.join("sesame")
    began, goes_on = threading.Event(), threading.Event()

    def stream(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("hello ses"))
        began.set()
        assert goes_on.wait(SECONDS)
        exchange.chunk(chunk_event("ame"))
        exchange.chunk(chunk_event("", finish="stop"))
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(stream)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(chat_once(gateway.port, STREAM)))
    asking.start()
    assert began.wait(SECONDS)
    time.sleep(0.3)  # the plugin has been asked
    plugin.child.send_signal(signal.SIGTERM)
    time.sleep(0.3)  # it has heard that it is to go
    assert plugin.child.poll() is None
    goes_on.set()
    asking.join(SECONDS)
    assert streamed(answers[0]) == "hello ***"
    assert plugin.child.wait(SECONDS) == 0


def test_another_stream_plugin_goes_on_where_one_was_killed(scene, upstream):
    """The phrase began with the first, and ends with the second."""
    gateway = scene("stream")
    first = gateway.join("sesame")
    began, goes_on = threading.Event(), threading.Event()

    def stream(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("hello ses"))
        began.set()
        assert goes_on.wait(SECONDS)
        exchange.chunk(chunk_event("ame, and more"))
        exchange.chunk(chunk_event("", finish="stop"))
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(stream)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(chat_once(gateway.port, STREAM)))
    asking.start()
    assert began.wait(SECONDS)
    time.sleep(0.3)  # it has been asked
    gateway.join("sesame")
    first.kill()
    left(gateway)
    goes_on.set()
    asking.join(SECONDS)
    assert streamed(answers[0]) == "hello ***, and more"


@pytest.mark.parametrize("required", [False, True])
def test_while_it_ends_what_it_began_it_is_not_there(scene, upstream, required):
    """Others pass, or wait for its successor."""
    gateway = scene("stream", required=required, timeout="20s")
    plugin = gateway.join("sesame")
    began, goes_on = threading.Event(), threading.Event()

    def stream(request, exchange):
        is_first = not began.is_set()
        exchange.start_stream()
        exchange.chunk(chunk_event("hello ses"))
        if is_first:
            began.set()
            assert goes_on.wait(SECONDS)
        exchange.chunk(chunk_event("ame", finish="stop"))
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(stream)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(chat_once(gateway.port, STREAM)))
    asking.start()
    assert began.wait(SECONDS)
    time.sleep(0.3)  # the plugin has been asked
    plugin.child.send_signal(signal.SIGTERM)
    time.sleep(0.3)  # the router has heard that it is to go
    if required:
        gateway.join("sesame")
    assert streamed(chat_once(gateway.port, STREAM)) == ("hello ***" if required else "hello sesame")
    goes_on.set()
    asking.join(SECONDS)
    assert streamed(answers[0]) == "hello ***"
    assert plugin.child.wait(SECONDS) == 0


# ---- away, and back ----


class Load:
    """A few clients that ask without end, two for each body."""

    def __init__(self, port, *bodies):
        self.port, self.bodies, self.over, self.answers = port, bodies, False, []
        self.threads = [threading.Thread(target=self.run, args=(body,)) for body in bodies for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def run(self, body):
        while not self.over:
            began = time.monotonic()
            answer = chat_once(self.port, body)
            self.answers.append((body is self.bodies[0], answer.status, began))

    def count(self, since=0.0):
        """(would pass, status): how many that were asked from then on."""
        return Counter((good, status) for good, status, at in list(self.answers) if at >= since)

    def check(self, *rows):
        """Nothing but these: who was just being asked when a plugin went is not refused either."""
        counts = self.end()
        assert set(counts) == set(rows), counts

    def end(self):
        self.over = True
        for thread in self.threads:
            thread.join(SECONDS)
        return self.count()


@pytest.fixture
def load():
    started = []

    def start(gateway, *bodies):
        started.append(Load(gateway.port, *bodies))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_required_is_refused_while_it_is_away(scene, load):
    """Killed under load: what it would refuse never passes; what it would not waits, and is refused in the end."""
    gateway = scene("deny", required=True, timeout="300ms")
    plugin = gateway.join("swordfish")
    asking = load(gateway, CHAT, ask("swordfish"))
    gateway.wait_until(lambda: asking.count()[(True, 200)] > 20 and asking.count()[(False, 400)] > 20, "both are asked")
    for times in range(2):
        plugin.kill()
        left(gateway, times + 1)
        gone = time.monotonic()
        gateway.wait_until(lambda: asking.count(gone)[(True, 500)] > 5 and asking.count(gone)[(False, 500)] > 5,
                           "refusing both")
        assert set(asking.count(gone)) == {(True, 500), (False, 500)}
        plugin = gateway.join("swordfish")
        back = time.monotonic()
        gateway.wait_until(lambda: asking.count(back)[(True, 200)] > 20 and asking.count(back)[(False, 400)] > 20,
                           "asking it again")
    counts = asking.end()
    assert set(counts) == {(True, 200), (True, 500), (False, 400), (False, 500)}
    refused = gateway.log_lines(event="router.plugin.failed")
    assert refused and {line["plugin"] for line in refused} == {"deny"}


def test_a_restart_within_the_time_limit_refuses_nobody(scene, load):
    gateway = scene("deny", required=True, timeout="20s")
    plugin = gateway.join("swordfish")
    asking = load(gateway, CHAT, ask("swordfish"))
    for _ in range(3):
        before = asking.count()
        gateway.wait_until(lambda: min((asking.count() - before)[row] for row in ((True, 200), (False, 400))) > 10,
                           "both are asked")
        plugin.kill()
        plugin = gateway.join("swordfish")
    asking.check((True, 200), (False, 400))


def test_not_required_passes_while_it_is_away(scene, load):
    """Killed under load: what it would refuse passes while it is away, and only then."""
    gateway = scene("deny", required=False)
    plugin = gateway.join("swordfish")
    asking = load(gateway, CHAT, ask("swordfish"))
    gateway.wait_until(lambda: asking.count()[(True, 200)] > 20 and asking.count()[(False, 400)] > 20, "both are asked")
    assert asking.count()[(False, 200)] == 0
    for times in range(2):
        plugin.kill()
        left(gateway, times + 1)
        gone = time.monotonic()
        gateway.wait_until(lambda: asking.count(gone)[(False, 200)] > 20, "letting it pass")
        assert set(asking.count(gone)) == {(True, 200), (False, 200)}
        plugin = gateway.join("swordfish")
        back = time.monotonic()
        gateway.wait_until(lambda: asking.count(back)[(False, 400)] > 20, "asking it again")
        assert asking.count(back)[(False, 200)] == 0
    asking.check((True, 200), (False, 200), (False, 400))


def test_two_of_a_name_share_and_one_may_die(scene, load):
    gateway = scene("deny", required=True)
    gateway.join("swordfish")
    asking = load(gateway, CHAT, ask("swordfish"))
    for _ in range(3):
        doomed = gateway.join("swordfish")
        before = asking.count()
        gateway.wait_until(lambda: min((asking.count() - before)[row] for row in ((True, 200), (False, 400))) > 10,
                           "both are asked")
        doomed.kill()
    asking.check((True, 200), (False, 400))


def test_stopped_it_leaves_nothing_unanswered(scene, load):
    gateway = scene("deny", required=False)
    plugin = gateway.join("swordfish")
    asking = load(gateway, CHAT, ask("swordfish"))
    for times in range(3):
        before = asking.count()
        gateway.wait_until(lambda: (asking.count() - before)[(False, 400)] > 10, "both are asked")
        plugin.stop()
        left(gateway, times + 1)
        gone = time.monotonic()
        gateway.wait_until(lambda: asking.count(gone)[(False, 200)] > 10, "letting it pass")
        plugin = gateway.join("swordfish")
    asking.check((True, 200), (False, 400), (False, 200))


@pytest.mark.parametrize("name, arguments", [("deny", ["swordfish"]), ("amend", ["--max-tokens", "5"]),
                                             ("stream", ["sesame"])])
def test_its_successor_first_and_nobody_notices(scene, load, name, arguments):
    gateway = scene(name, required=True)
    plugin = gateway.join(*arguments)
    asking = load(gateway, CHAT, STREAM)
    for _ in range(3):
        before = asking.count()
        gateway.wait_until(lambda: min((asking.count() - before)[row] for row in ((True, 200), (False, 200))) > 10,
                           "both are asked")
        successor = gateway.join(*arguments)
        plugin.stop()
        plugin = successor
    asking.check((True, 200), (False, 200))


def test_one_that_hangs_is_missed_and_welcome_again(scene):
    gateway = scene("deny", required=True, timeout="200ms")
    plugin = gateway.join("swordfish")
    plugin.child.send_signal(signal.SIGSTOP)
    assert chat_once(gateway.port, CHAT).status == 500
    left(gateway)
    plugin.child.send_signal(signal.SIGCONT)
    gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) >= 2, "it has joined again")
    assert chat_once(gateway.port, CHAT).status == 200
    assert chat_once(gateway.port, ask("swordfish")).status == 400
    plugin.stop()


@pytest.mark.parametrize("name, arguments", [("deny", ["hello"]), ("stream", ["--cut", "hello"])])
def test_the_gateway_comes_back(scene, name, arguments):
    """A plugin waits for its router and joins it again."""
    gateway = scene(name, required=True, timeout="20s")
    plugin = gateway.join(*arguments)
    assert chat_once(gateway.port, CHAT).status in (400, 502)
    gateway.child.send_signal(signal.SIGTERM)
    assert gateway.child.wait(SECONDS) == 0
    again = HttpProcess(gateway.arguments[1:], gateway.port, gateway.log_path, "/readyz",
                        environment={"LOG_FORMAT": "json", KEY_VARIABLE: UPSTREAM_KEY})
    try:
        again.wait_ready()
        again.wait_until(lambda: again.log_lines(event="router.plugin.joined"), f"{name} has joined again")
        assert chat_once(again.port, CHAT).status in (400, 502)
        plugin.stop()
        again.stop()
    finally:
        again.kill()


@pytest.mark.parametrize("required", [True, False])
def test_a_stream_whose_plugin_dies_is_cut(scene, upstream, required):
    """What was not cleared stays inside, whether or not it is required: it was there when the stream began."""
    gateway = scene("stream", required=required, timeout="500ms")
    plugin = gateway.join("sesame")

    def stream(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("hello ses"))
        time.sleep(0.3)
        plugin.kill()
        left(gateway)
        exchange.chunk(chunk_event("ame"))
        exchange.chunk(chunk_event("", finish="stop"))
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(stream)
    answer = chat_once(gateway.port, STREAM)
    assert streamed(answer) == "hello "
    assert json.loads(sse_events(answer.body)[-1])["error"]["code"] == "plugin_error"


@pytest.mark.parametrize("name, arguments", [("deny", ["swordfish"]), ("amend", ["--max-tokens", "5"]),
                                             ("stream", ["sesame"])])
def test_with_curve(scene, tmp_path, name, arguments):
    """Keys as `dynabus keys new` makes them; a key with another role stays outside."""
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    for role in ("router", "worker", "plugin"):
        subprocess.run([BINARY, "keys", "new", "--role", role, tmp_path / role], check=True, capture_output=True,
                       env=clean_environment({}))
        (allowed / role).write_bytes((tmp_path / role).read_bytes())
    gateway = scene(name, bus={"curve": {"cert": str(tmp_path / "router"), "allowed": str(allowed)}})
    gateway.join(*arguments, "--curve", tmp_path / "worker_secret", tmp_path / "router", waits=False)
    gateway.wait_until(lambda: gateway.log_lines(event="bus.refused", reason="role"), "turning the stranger away")
    assert not gateway.log_lines(event="router.plugin.joined")
    gateway.join(*arguments, "--curve", tmp_path / "plugin_secret", tmp_path / "router")
    assert chat_once(gateway.port, CHAT).status == 200


# ---- docs/plugins/write-your-own.md ----


def blocks(language):
    """Fenced code of that language."""
    text = (ROOT / "docs/plugins/write-your-own.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def test_what_the_page_tells_to_type(tmp_path):
    """Its configuration, its commands and its plugin, but for ports: one is answered, one refused, and both when it
    is gone."""
    base, mock, port = free_base(), free_port(), free_port()
    ports = {"7400": base, "7401": base + 1, "9090": mock, "8080": port}

    def here(text):
        return re.sub(r"127\.0\.0\.1:(\d+)", lambda found: f"127.0.0.1:{ports[found[1]]}", text)

    (config,), (program,), (start, ask_twice) = blocks("yaml"), blocks("python"), blocks("sh")
    (tmp_path / "gateway.yaml").write_text(here(config))
    mock_words, serve_words = [line.removesuffix(" &").split()[1:] for line in here(start).splitlines()[1:]]
    environment = dict([start.splitlines()[0].removeprefix("export ").split("=")])
    processes = [HttpProcess(mock_words, mock, tmp_path / "mock.log", "/mock/stats"),
                 HttpProcess(serve_words, port, tmp_path / "log", "/readyz", environment=environment)]

    def answers():
        done = subprocess.run(["bash", "-c", here(ask_twice).replace("curl", "curl -sS -w '\\n%{http_code}\\n'")],
                              capture_output=True, text=True, timeout=SECONDS, env=clean_environment({}))
        return done.stdout

    plugin = None
    try:
        for process in processes:
            process.wait_ready()
        plugin = Plugin(tmp_path, "-c", here(program))
        processes[1].wait_until(lambda: processes[1].log().count("router.plugin.joined") >= 1, "it has joined")
        time.sleep(3)  # longer than a silent plugin lives: it says heartbeats
        said = answers()
        assert re.findall(r"^\d{3}$", said, re.M) == ["200", "400"], said
        assert "request rejected by plugin calm at before_request: please do not shout" in said
        plugin.kill()
        assert re.findall(r"^\d{3}$", answers(), re.M) == ["500", "500"]
        for process in reversed(processes):
            process.stop()
    finally:
        for one in [*processes, *([plugin] if plugin else [])]:
            one.kill()
