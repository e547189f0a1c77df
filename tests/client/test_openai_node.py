"""The official OpenAI Node SDK against the gateway, with its own retries off."""

import json
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from harness.gateway import Gateway, target
from harness.process import clean_environment
from harness.upstream import DONE, chunk_event

MASTER = "master-key-for-the-sdk"
SOURCE = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def sdk(tmp_path_factory):
    """The SDK in the version of the lock file."""
    directory = tmp_path_factory.mktemp("node")
    shutil.copytree(SOURCE, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(["npm", "ci", "--no-fund", "--no-audit"], cwd=directory, check=True, capture_output=True)
    return directory / "sdk.mjs"


@pytest.fixture(scope="module")
def module_gateway(tmp_path_factory, module_upstream):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), [target(module_upstream.url)],
                      environment={"MASTER_KEY": MASTER})
    try:
        yield gateway.wait_ready()
        gateway.stop()
    finally:
        gateway.kill()


@pytest.fixture
def run(sdk, gateway):
    def run(case, key=MASTER):
        done = subprocess.run(["node", sdk, gateway.url + "/v1", key, case], env=clean_environment({}),
                              capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_chat(run):
    assert run("chat") == {"content": "hello", "total": 5, "target": "upstream"}


def test_models(run):
    assert run("models") == {"ids": ["test-model"], "one": "test-model"}


def test_stream(run):
    assert run("stream") == {"content": "hello", "finish": "stop", "usages": 0}


def test_stream_with_usage(run):
    assert run("usage") == {"total": 5, "choices": 0}


def test_aborting_a_stream_cancels_the_upstream_call(run, upstream):
    closed = threading.Event()

    def endless(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        assert exchange.wait_for_close(20)
        closed.set()

    upstream.reset_to(endless)
    assert run("abort") == {"first": "a"}
    assert closed.wait(20)


def test_errors_are_the_sdk_s_own(run):
    assert run("chat", key="wrong")["error"] == "AuthenticationError"
    unknown = run("error")
    assert (unknown["error"], unknown["status"], unknown["code"]) == ("NotFoundError", 404, "model_not_found")


def test_a_stream_that_breaks_off_is_an_error(run, upstream):
    def cut(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        exchange.cut()

    upstream.reset_to(cut)
    answer = run("failing_stream")
    assert answer["error"] == "APIError" and "ended before it was complete" in answer["message"]


def test_a_stream_ends_where_it_ends(run, upstream):
    def slow(request, exchange):
        exchange.start_stream()
        for piece in "hello":
            exchange.chunk(chunk_event(piece))
        exchange.chunk(chunk_event("", finish="stop") + DONE)
        exchange.end_stream()

    upstream.reset_to(slow)
    assert run("stream")["content"] == "hello"
