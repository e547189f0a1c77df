"""The example subscribers, written from proto/04-EVENTS.md, at a real gateway: what they say is what happened, also of
the time when they were not there."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.bus import free_base
from harness.http import chat_once
from harness.process import HttpProcess, clean_environment, free_port

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "subscribers"
SECONDS = 30  # against hanging
CHAT = {"model": "mock", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """`dynabus serve --dev`, and where its bus is."""
    port, base = free_port(), free_base()
    log = tmp_path_factory.mktemp("gateway") / "log"
    arguments = ["serve", "--dev", "--listen", f"127.0.0.1:{port}", "--bus", f"tcp://127.0.0.1:{base}"]
    process = HttpProcess(arguments, port, log, "/readyz")
    process.router, process.events = f"tcp://127.0.0.1:{base}", f"tcp://127.0.0.1:{base + 2}"
    try:
        yield process.wait_ready()
        process.stop()
    finally:
        process.kill()


class Example:
    def __init__(self, directory, *arguments):
        self.log_path = directory / f"{free_port()}.log"
        with open(self.log_path, "wb") as log:
            self.child = subprocess.Popen([sys.executable, *map(str, arguments)], env=clean_environment({}),
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def lines(self):
        return self.log_path.read_text().splitlines()

    def stop(self):
        self.child.send_signal(signal.SIGINT)
        assert self.child.wait(SECONDS) == 0, self.log_path.read_text()

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


@pytest.fixture
def run(tmp_path):
    started = []

    def start(*arguments):
        started.append(Example(tmp_path, *arguments))
        return started[-1]

    yield start
    for example in started:
        example.kill()


def wait_for(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ask(gateway):
    answer = chat_once(gateway.port, CHAT)
    assert answer.status == 200
    return json.loads(answer.body)["usage"]


def test_tokens_per_model(gateway, run):
    example = run(EXAMPLES / "tokens_per_model.py", "--events", gateway.events)
    while not example.lines():  # until its subscription is there
        usage = ask(gateway)
        time.sleep(0.05)
    wait_for(lambda: example.lines()[-1].startswith("mock: "))
    before = len(example.lines())
    for _ in range(3):
        ask(gateway)
    wait_for(lambda: len(example.lines()) >= before + 3)
    example.stop()
    totals = [int(line.split()[1]) for line in example.lines()]
    spent = usage["prompt_tokens"] + usage["completion_tokens"]
    assert totals == [spent * (i + 1) for i in range(len(totals))]


def rows(path):
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_each_request_once_also_of_the_time_between(gateway, run, tmp_path):
    path = tmp_path / "requests.csv"
    command = (EXAMPLES / "csv_writer.py", path, "--router", gateway.router, "--events", gateway.events)
    for _ in range(3):
        ask(gateway)
    example = run(*command)
    wait_for(lambda: len(rows(path)) >= 3)  # told again
    for _ in range(3):
        ask(gateway)
    told = len(rows(path))
    wait_for(lambda: len(rows(path)) >= 6)  # live
    example.stop()
    told = len(rows(path))
    for _ in range(4):
        ask(gateway)  # nobody listens
    assert chat_once(gateway.port, {"model": "mock"}).status == 400
    example = run(*command)
    wait_for(lambda: len(rows(path)) >= told + 5)
    example.stop()
    found = rows(path)
    sequences = [int(row["sequence"]) for row in found]
    assert sequences == sorted(set(sequences))
    failed = [row for row in found if row["topic"] == "gateway.request.failed"]
    assert [row["error_code"] for row in failed] == ["invalid_request"] and failed[0] in found[told:]
    good = [row for row in found if row not in failed]
    assert {row["topic"] for row in good} == {"gateway.request.completed"}
    assert all(row["model"] == "mock" and row["status"] == "200" for row in good)
    assert len({row["trace_id"] for row in found}) == len(found)
