"""Processes of a plugin are killed under load, over tcp with CURVE. While another one of the name is there no request
fails, streams in their middle included; without one the policy decides, and every request gets its answer."""

import json
import os
import random
import threading
import time
from collections import Counter

import pytest

from harness.fleet import Fleet, until
from harness.gateway import Mock
from harness.http import chat_once, sse_events
from harness.plugin import PluginProcess

SECONDS = 6
CLIENTS = 5  # of each kind
STAGES = ["before_request", "during_stream", "after_request"]
MODEL = "mock-tokens-60-pace-15-seed-7"  # the same words each time, for a second when they stream
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
STREAM = CHAT | {"stream": True}


class Load:
    """So many clients ask one after the other. `outcomes` counts what they got."""

    def __init__(self, port):
        self.port = port
        self.expected = {stream: self.outcome(CHAT | {"stream": stream}) for stream in (False, True)}
        assert all(len(said) > 100 for said in self.expected.values()), self.expected
        self.outcomes = Counter()
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(bool(i % 2),)) for i in range(2 * CLIENTS)]
        for thread in self.threads:
            thread.start()

    def outcome(self, body):
        """The answer's words, or the code of its error. An answer that is not whole raises."""
        answer = chat_once(self.port, body)
        if not answer.body.startswith(b"data:"):
            said = answer.json()
            return said["error"]["code"] if "error" in said else said["choices"][0]["message"]["content"]
        *events, last = sse_events(answer.body)
        if last != b"[DONE]":
            return "cut " + json.loads(last)["error"]["code"]
        return "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events)

    def run(self, stream):
        while not self.is_over.is_set():
            try:
                got = self.outcome(STREAM if stream else CHAT)
            except (OSError, ValueError, AssertionError, KeyError) as failure:
                got = f"unanswered: {failure!r}"
            self.outcomes["whole" if got == self.expected[stream] else got[:60]] += 1

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a request got no answer"
        return self.outcomes


@pytest.fixture
def scene(tmp_path):
    """start(**entry) gives a fleet's port and a way to start processes of its plugin."""
    seed = int(os.environ.get("DYNABUS_SEED", random.randrange(1 << 32)))
    print(f"DYNABUS_SEED={seed}")
    random.seed(seed)
    mock = Mock(tmp_path)
    opened, plugins = [mock], []

    def start(**entry):
        plugin = {"name": "judge", "type": "guardrail", "enabled": True, "timeout": "5s", **entry}
        upstream = [{"name": "mock", "provider": "openai", "base_url": mock.wait_ready().url + "/v1",
                     "api_key": "${TEST_UPSTREAM_KEY}", "models": [MODEL]}]
        fleet = Fleet(tmp_path, mock.url, routers=1, curve=True, is_open=True, plugins=[plugin])
        fleet.config.write_text(json.dumps({**json.loads(fleet.config.read_text()), "targets": upstream}, indent=2))
        opened.append(fleet)
        router = fleet.router(0)
        fleet.provider()
        edge = fleet.edge()

        def join():
            joined = len(router.log_lines(event="router.plugin.joined"))
            plugins.append(PluginProcess(fleet.workers_endpoint(), STAGES, curve=fleet.curve_of("plugin")))
            until(lambda: len(router.log_lines(event="router.plugin.joined")) > joined, "it has joined")
            return plugins[-1]

        return edge, join

    yield start
    for plugin in plugins:
        plugin.kill()
    try:
        for one in reversed(opened):
            one.stop()
    finally:
        for one in opened:
            one.kill() if one is mock else one.close()


def test_with_another_one_of_its_name_nobody_notices(scene):
    edge, join = scene()
    crew = [join(), join()]
    load = Load(edge.wait_ready().port)
    ends = time.monotonic() + SECONDS
    kills = 0
    while time.monotonic() < ends:
        time.sleep(random.uniform(0.6, 1.2))
        place = random.randrange(2)
        crew[place].kill()
        kills += 1
        crew[place] = join()
    outcomes = load.stop()
    print(f"kills={kills} {dict(outcomes)}")
    assert set(outcomes) == {"whole"} and outcomes["whole"] > 2 * CLIENTS and kills >= 4


@pytest.mark.parametrize("policy, allowed", [("closed", {"whole", "plugin_error", "cut plugin_error"}), ("open", {"whole"})])
def test_without_one_the_policy_decides(scene, policy, allowed):
    edge, join = scene(on_failure=policy, timeout="300ms")
    judge = join()
    load = Load(edge.wait_ready().port)
    for _ in range(4):
        time.sleep(random.uniform(0.5, 1.0))
        judge.kill()
        time.sleep(random.uniform(0.2, 0.8))
        judge = join()
    time.sleep(1.5)
    outcomes = load.stop()
    print(f"kills=4 {dict(outcomes)}")
    assert set(outcomes) <= allowed and outcomes["whole"] > CLIENTS
    assert policy == "open" or outcomes["plugin_error"] > 0
