"""GET /metrics of a real gateway: what was asked is what is counted, names that clients invent make no series, who may
read it, and a fleet on one page. Where Prometheus' own promtool is installed it judges the page too."""

import re
import shutil
import subprocess
import time

import pytest

from harness.bus import free_base
from harness.gateway import target
from harness.http import Connection, chat_once, request_once
from harness.process import HttpProcess, free_port

SECONDS = 30  # against hanging
CHAT = {"model": "test-model", "messages": [{"role": "user", "content": "Hello"}]}
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)')


def page(port, headers=None):
    answer = request_once(port, "GET", "/metrics", headers=headers)
    assert answer.status == 200, answer.body
    assert dict(answer.headers)["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.body.decode()


def read(text):
    """{series: value}; every line is what the format allows, and no series is there twice."""
    found, families = {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert family not in families and len(line.split(" ", 3)[3]) > 10
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2] == family
            families[family] = line.split(" ")[3]
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            suffixes = ("", "_bucket", "_sum", "_count") if families[family] == "histogram" else ("",)
            assert match[1] in [family + suffix for suffix in suffixes], line
            assert match[1] + (match[2] or "") not in found, line
            found[match[1] + (match[2] or "")] = float(match[3])
    return found


def promtool_agrees(text):
    tool = shutil.which("promtool")
    if tool is not None:
        done = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0 and done.stdout + done.stderr == "", done


def test_what_was_asked_is_counted(start_gateway, upstream):
    gateway = start_gateway([target(upstream.url)])
    promtool_agrees(page(gateway.port))
    for _ in range(3):
        assert chat_once(gateway.port, CHAT).status == 200
    assert chat_once(gateway.port, {**CHAT, "model": "unheard-of"}).status == 404
    text = page(gateway.port)
    found = read(text)
    promtool_agrees(text)
    labels = '{provider="openai",model="test-model"'
    assert found["gateway_requests_total" + labels + ',status="success"}'] == 3
    assert found['gateway_requests_total{provider="none",model="other",status="rejected"}'] == 1
    assert found['gateway_request_errors_total{code="model_not_found"}'] == 1
    assert found["gateway_request_duration_seconds_count" + labels + "}"] == 3
    assert found["gateway_request_duration_seconds_bucket" + labels + ',le="+Inf"}'] == 3
    assert found["gateway_tokens_input_total" + labels + "}"] > 0
    assert found['gateway_key_requests_total{key_id="anonymous",status="success"}'] == 3
    assert found["gateway_upstream_calls_total"] == 3
    assert found["gateway_upstream_calls_extra_total"] == 0
    assert found['gateway_server_connection_transitions_total{state="new"}'] >= 6
    assert found['gateway_upstream_attempts_total{outcome="succeeded"}'] == 3
    assert found["gateway_nodes"] == 1 and found["process_resident_memory_bytes"] > 1e6
    assert [name for name in found if name.startswith("gateway_build_info")]


def test_names_that_clients_invent_make_no_series(start_gateway, upstream):
    gateway = start_gateway([target(upstream.url, models=["known"]), target(upstream.url, name="any", models=[])])
    assert chat_once(gateway.port, {**CHAT, "model": "known"}).status == 200
    assert chat_once(gateway.port, {**CHAT, "model": "first-invention"}).status == 200
    before = read(page(gateway.port))
    with Connection(gateway.port) as connection:
        for number in range(500):
            assert connection.chat({**CHAT, "model": f"invented-{number}"}).status == 200
    after = read(page(gateway.port))
    assert set(after) == set(before)
    assert after['gateway_requests_total{provider="openai",model="other",status="success"}'] == 501


def test_who_may_read_it(start_gateway, upstream):
    gateway = start_gateway([target(upstream.url)], environment={"MASTER_KEY": "the-master-key"})
    assert request_once(gateway.port, "GET", "/metrics").status == 401
    assert request_once(gateway.port, "GET", "/metrics", headers={"Authorization": "Bearer wrong"}).status == 401
    assert request_once(gateway.port, "POST", "/metrics", body=b"x").status == 405
    read(page(gateway.port, {"Authorization": "Bearer the-master-key"}))


@pytest.fixture
def fleet(start_gateway, upstream, tmp_path):
    """Two routers with providers, an edge, and who counts; each a process."""
    bases = [free_base(), free_base()]
    routers = [f"tcp://127.0.0.1:{base}" for base in bases]
    processes = [
        start_gateway([target(upstream.url)], arguments=("--roles", "router,provider"),
                      config={"bus": {"listen": router}}) for router in routers
    ]
    joins = {"bus": {"routers": routers}}
    edge = start_gateway([target(upstream.url)], arguments=("--roles", "edge"), config=joins)
    counter = start_gateway([target(upstream.url)], arguments=("--roles", "metrics"), config=joins)
    return edge, counter, processes


def wait_for(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_fleet_on_one_page(fleet):
    edge, counter, _ = fleet
    # Until it hears both routers; what was told before it did is not counted.
    wait_for(lambda: read(page(counter.port))["gateway_nodes"] >= 4)
    name = 'gateway_requests_total{provider="openai",model="test-model",status="success"}'
    before = read(page(counter.port)).get(name, 0)
    for _ in range(20):
        assert chat_once(edge.port, CHAT).status == 200
    wait_for(lambda: read(page(counter.port)).get(name, 0) >= before + 20)
    text = page(counter.port)
    promtool_agrees(text)
    found = read(text)
    assert found[name] == before + 20
    assert found["gateway_metrics_events_missed_total"] == 0
    assert found["gateway_config_hashes"] >= 1
    wait_for(lambda: read(page(counter.port))['gateway_owner_requests_total{step="sent"}'] >= 20)
