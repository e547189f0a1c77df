"""What the pages about the bus tell a reader to type works as it stands there, but for ports and names of hosts."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.bus import free_base
from harness.http import request_once
from harness.process import BINARY, HttpProcess, Process, clean_environment, free_port

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60  # against hanging


def blocks(page, language):
    """Fenced code of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)


class Dev:
    """`dynabus serve --dev` on ports of its own, and the pages' text as it reads there."""

    def __init__(self, directory):
        self.port, self.base = free_port(), free_base()
        arguments = ["serve", "--dev", "--listen", f"127.0.0.1:{self.port}", "--bus", f"tcp://127.0.0.1:{self.base}"]
        self.process = HttpProcess(arguments, self.port, directory / "log", "/readyz")
        self.process.wait_ready()

    def here(self, text):
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        for part in range(3):
            text = text.replace(f"127.0.0.1:{7400 + part}", f"127.0.0.1:{self.base + part}")
        bus = f"--bus tcp://127.0.0.1:{self.base}"
        return re.sub(r"^dynabus (ask|tail)", rf"{BINARY} \1 {bus}", text, flags=re.M)

    def run(self, text, program="bash"):
        command = ["bash", "-c"] if program == "bash" else [sys.executable, "-c"]
        return subprocess.run([*command, self.here(text)], capture_output=True, text=True, timeout=SECONDS,
                              env=clean_environment({}))


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    dev = Dev(tmp_path_factory.mktemp("dev"))
    try:
        yield dev
        dev.process.stop()
    finally:
        dev.process.kill()


class Program:
    """A program of a page that goes on running; what it prints is read as it comes."""

    def __init__(self, text):
        self.child = subprocess.Popen([sys.executable, "-u", "-c", text], stdout=subprocess.PIPE, text=True,
                                      env=clean_environment({}))

    def line(self):
        timer = threading.Timer(SECONDS, self.child.kill)
        timer.start()
        line = self.child.stdout.readline()
        timer.cancel()
        return line

    def end(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()
        self.child.stdout.close()


@pytest.fixture
def program():
    started = []

    def start(text):
        started.append(Program(text))
        return started[-1]

    yield start
    for one in started:
        one.end()


def chat(port, model, text="hello"):
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()
    return request_once(port, "POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})


# ---- write-a-client.md ----


def test_ask_commands(dev):
    (commands,) = [block for block in blocks("write-a-client.md", "sh") if "dynabus ask" in block]
    done = dev.run("set -e\n" + commands)
    assert done.returncode == 0 and done.stdout.count("This answer comes from the mock") == 2, done


@pytest.mark.parametrize("number", [0, 1])
def test_clients_of_the_page(dev, number):
    programs = blocks("write-a-client.md", "python")
    assert len(programs) == 2
    done = dev.run(programs[number], "python")
    assert done.returncode == 0 and "This answer comes from the mock of Dynabus." in done.stdout, done
    assert done.stderr == ""


# ---- write-a-provider-worker.md ----


def models_of(dev):
    return [model["id"] for model in request_once(dev.port, "GET", "/v1/models").json()["data"]]


def test_worker_of_the_page(dev, program):
    """Its model is there, answers, and is gone with it."""
    (worker,) = blocks("write-a-provider-worker.md", "python")
    running = program(dev.here(worker))
    dev.process.wait_until(lambda: "shout" in models_of(dev), "serving the worker's model")
    (commands,) = [block for block in blocks("write-a-provider-worker.md", "sh") if "curl" in block]
    done = dev.run(commands.replace("curl", "curl -sS --fail"))
    assert done.returncode == 0 and '"shout"' in done.stdout and '"HELLO"' in done.stdout, done
    time.sleep(3)  # longer than a silent worker lives: it says heartbeats
    assert chat(dev.port, "shout").json()["choices"][0]["message"]["content"] == "HELLO"
    running.end()
    dev.process.wait_until(lambda: "shout" not in models_of(dev), "without it")
    assert chat(dev.port, "shout").status == 404


# ---- subscribe-to-events.md ----


def test_subscriber_of_the_page(dev, program):
    live, _ = blocks("subscribe-to-events.md", "python")
    subscriber = program(dev.here(live))
    lines = []
    reader = threading.Thread(target=lambda: lines.append(subscriber.line()))
    reader.start()
    while reader.is_alive():  # until the subscription has arrived
        assert chat(dev.port, "mock").status == 200
        reader.join(0.05)
    assert lines[0].startswith("gateway.request.completed mock 200 ")


def test_asking_again_of_the_page(dev):
    _, replay = blocks("subscribe-to-events.md", "python")
    assert chat(dev.port, "nobody-has-this").status == 404
    done = dev.run(replay, "python")
    assert done.returncode == 0 and done.stderr == "", done
    *events, last = done.stdout.splitlines()
    numbers = [int(line.split()[0]) for line in events]
    assert numbers == sorted(set(numbers))  # between them may stand events that are not about requests
    assert any("gateway.request.failed nobody-has-this 404" in line for line in events)
    since, node = re.fullmatch(r"next time since (\d+) of node ([0-9a-f]{32})", last).groups()
    assert int(since) > numbers[-1]


def test_tail_of_the_page(dev):
    (command,) = [block for block in blocks("subscribe-to-events.md", "sh") if "dynabus tail" in block]
    child = subprocess.Popen(["bash", "-c", "exec " + dev.here(command)], stdout=subprocess.PIPE, text=True,
                             env=clean_environment({}))
    lines = []
    reader = threading.Thread(target=lambda: lines.append(child.stdout.readline()))
    try:
        reader.start()
        deadline = time.monotonic() + SECONDS
        while reader.is_alive() and time.monotonic() < deadline:  # until the subscription has arrived
            assert chat(dev.port, "mock").status == 200
            reader.join(0.05)
        event = json.loads(lines[0])
        assert event["topic"].startswith("gateway.") and event["sequence"] > 0
    finally:
        child.kill()
        child.wait()
        reader.join()
        child.stdout.close()


# ---- keys ----


def run_here(commands, directory, **environment):
    """Commands of a page, in a folder of their own."""
    text = re.sub(r"^dynabus ", f"{Path(BINARY).resolve()} ", commands, flags=re.M)
    done = subprocess.run(["bash", "-ec", text], capture_output=True, text=True, timeout=SECONDS, cwd=directory,
                          env=clean_environment(environment))
    assert done.returncode == 0, done
    return done.stdout


def public_key(path):
    return re.search(r"^public +(.{40})$", run_here(f"dynabus keys show {path}", path.parent), re.M)[1]


def test_keys_of_a_client(tmp_path):
    """The page's commands make a key; a router that knows it lets the page's client in, and `dynabus ask`."""
    (commands,) = [block for block in blocks("write-a-client.md", "sh") if "keys new" in block]
    (curve,) = blocks("write-a-client.md", "py")
    assert "role    client" in run_here(commands, tmp_path)
    run_here("dynabus keys new --role router router.key; mkdir allowed; cp client.key allowed/", tmp_path)
    base, port = free_base(), free_port()
    bus = {"listen": f"tcp://127.0.0.1:{base}",
           "curve": {"cert": str(tmp_path / "router.key"), "allowed": str(tmp_path / "allowed")}}
    target = {"name": "t", "provider": "openai", "base_url": f"http://127.0.0.1:{free_port()}/v1", "api_key": "${KEY}",
              "models": ["mock"]}
    (tmp_path / "config.yaml").write_text(json.dumps({"targets": [target], "bus": bus}))
    arguments = ["serve", "--config", tmp_path / "config.yaml", "--listen", f"127.0.0.1:{port}"]
    gateway = HttpProcess(arguments, port, tmp_path / "log", "/readyz", environment={"KEY": "k", "MASTER_KEY": "master"})
    try:
        gateway.wait_ready()
        server = public_key(tmp_path / "router.key")
        first = blocks("write-a-client.md", "python")[0].replace(":7400", f":{base}")
        curve = curve.replace("the router's public key: 40 characters", server)
        program = first.replace("socket.connect(", curve + "socket.connect(").replace(
            '"credit": 65536', '"credit": 65536, "cred": b"master"')
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS,
                              cwd=tmp_path, env=clean_environment({}))
        assert done.returncode == 0 and "UPSTREAM_UNREACHABLE" in done.stdout, done  # admitted; nobody is there
        ask = [BINARY, "ask", "--bus", f"tcp://127.0.0.1:{base}", "--key", str(tmp_path / "client.key"), "--server"]
        known = subprocess.run([*ask, server, "mock", "x"], capture_output=True, text=True, timeout=SECONDS,
                               env=clean_environment({"MASTER_KEY": "master"}))
        assert "(upstream_unreachable)" in known.stderr, known
        no_credential = subprocess.run([*ask, server, "mock", "x"], capture_output=True, text=True, timeout=SECONDS,
                                       env=clean_environment({}))
        assert "(missing_api_key)" in no_credential.stderr
        wrong = subprocess.run([*ask, public_key(tmp_path / "client.key"), "mock", "x"], capture_output=True, text=True,
                               timeout=SECONDS, env=clean_environment({}))
        assert wrong.returncode == 1 and "did not let us in" in wrong.stderr
        gateway.stop()
    finally:
        gateway.kill()


# ---- several-hosts.md ----


class Fleet:
    """The processes that the page starts, one command a process."""

    def __init__(self, directory, config, commands, environment):
        self.directory, self.environment = directory, environment
        self.members = []
        (directory / "fleet.yaml").write_text(config)
        for words in commands:
            self.start(words)

    def start(self, words):
        log = self.directory / f"{len(self.members)}.log"
        self.members.append(Process(words, log, environment=self.environment))
        return self.members[-1]

    def stop(self):
        for member in reversed(self.members):
            if member.child.poll() is None:
                member.stop()

    def kill(self):
        for member in self.members:
            member.kill()


def words_of(commands, replace):
    """The arguments of each `dynabus .. &` line."""
    for old, new in replace.items():
        commands = commands.replace(old, new)
    return [line.removesuffix(" &").split()[1:] for line in commands.splitlines() if line.startswith("dynabus ")]


def variables_of(commands):
    return dict(pair.split("=") for pair in re.search(r"^export (.*)$", commands, re.M)[1].split())


def ports_here():
    base, mock, edge = free_base(), free_port(), free_port()
    return {"127.0.0.1:7400": f"127.0.0.1:{base}", "127.0.0.1:9090": f"127.0.0.1:{mock}",
            "127.0.0.1:8080": f"127.0.0.1:{edge}"}, edge


def replaced(text, replace):
    for old, new in replace.items():
        text = text.replace(old, new)
    return text


def wait_answer(fleet, command):
    """The page's curl, until all processes have found each other."""
    results = []

    def answered():
        results.append(subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=SECONDS))
        return '"chat.completion"' in results[-1].stdout

    fleet.members[-1].wait_until(answered, f"answering {command}")
    return results[-1].stdout


def test_fleet_on_one_machine(tmp_path):
    """Its commands make a gateway of three processes; a second provider, and the first may die."""
    replace, edge = ports_here()
    config = replaced(blocks("several-hosts.md", "yaml")[0], replace)
    start, curl = blocks("several-hosts.md", "sh")[:2]
    commands = words_of(start, replace)
    assert [words[2] for words in commands[1:]] == ["router", "provider", "edge"]
    fleet = Fleet(tmp_path, config, commands, variables_of(start))
    try:
        wait_answer(fleet, replaced(curl, replace))
        fleet.start(commands[2])
        fleet.members[-1].wait_until(lambda: "worker.router" in fleet.members[-1].log(), "joined")
        fleet.members[2].kill()
        headers = {"Content-Type": "application/json", "Authorization": "Bearer change-me"}
        body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": "x"}]}).encode()
        for _ in range(5):
            assert request_once(edge, "POST", "/v1/chat/completions", body, headers).status == 200
        fleet.stop()
    finally:
        fleet.kill()


def test_fleet_with_keys(tmp_path):
    """The page's keys and its second configuration: each process has the pair of its role."""
    replace, _ = ports_here()
    make_keys = next(block for block in blocks("several-hosts.md", "sh") if "keys new" in block)
    (tmp_path / "keys").mkdir()
    run_here(make_keys, tmp_path)
    first, second = blocks("several-hosts.md", "yaml")
    targets = first[first.index("targets:"):]
    replace |= {"tcp://*:7400": "tcp://" + replace["127.0.0.1:7400"], "/etc/dynabus/keys": str(tmp_path / "keys"),
                "tcp://router.internal:7400": "tcp://" + replace["127.0.0.1:7400"]}
    start, curl = blocks("several-hosts.md", "sh")[:2]
    fleet = Fleet(tmp_path, replaced(second + targets, replace), [], {})
    pairs = {"router": "router", "provider": "provider", "edge": "edge"}
    try:
        for words in words_of(start, replace):
            pair = pairs.get(words[2], "none")
            fleet.environment = {**variables_of(start), "DYNABUS_CERT": str(tmp_path / "keys" / pair)}
            fleet.start(words)
        wait_answer(fleet, replaced(curl, replace))
        fleet.stop()
    finally:
        fleet.kill()
