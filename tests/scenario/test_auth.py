"""Who may use the gateway: the master key, the open proxy, and loopback without either."""

import pytest

from harness.gateway import run_to_end, target, write_config
from harness.http import Connection, chat_once, request_once
from harness.process import free_port

GOOD = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
MASTER = "master-key-for-tests"
BEARER = {"Authorization": f"Bearer {MASTER}"}


@pytest.fixture
def locked(start_gateway, upstream):
    return start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER})


def test_master_key(locked, upstream):
    with Connection(locked.port) as connection:
        assert connection.chat(GOOD, BEARER).status == 200
        assert connection.chat(GOOD, {"Authorization": f"bearer {MASTER}"}).status == 200
        assert connection.request("GET", "/v1/models", headers=BEARER).status == 200
    assert MASTER not in locked.log()
    assert MASTER not in str([request.headers for request in upstream.received()])


@pytest.mark.parametrize("headers, code", [
    ({}, "missing_api_key"),
    ({"Authorization": ""}, "missing_api_key"),
    ({"Authorization": "Basic bWFzdGVyOmtleQ=="}, "missing_api_key"),
    ({"Authorization": "Bearer"}, "missing_api_key"),
    ({"Authorization": "Bearer wrong"}, "invalid_api_key"),
    ({"Authorization": f"Bearer {MASTER}x"}, "invalid_api_key"),
    ({"Authorization": f"Bearer {MASTER[:-1]}"}, "invalid_api_key"),
    ({"Authorization": f"Bearer {MASTER.upper()}"}, "invalid_api_key"),
    ({"Authorization": "Bearer " + "x" * 5000}, "invalid_api_key"),
])
def test_refused(locked, upstream, headers, code):
    with Connection(locked.port) as connection:
        answer = connection.chat(GOOD, headers)
        assert (answer.status, answer.error["code"]) == (401, code)
        assert answer.error["type"] == "authentication_error"
        assert upstream.received() == []
        assert connection.chat(GOOD, BEARER).status == 200


@pytest.mark.parametrize("method, path, body, headers", [
    ("POST", "/v1/models", b"{}", {}),                                       # 405 with a key
    ("DELETE", "/v1/chat/completions", None, {}),                            # 405
    ("POST", "/v1/chat/completions", b"rubbish", {}),                        # 400
    ("POST", "/v1/chat/completions", b"{}", {"Content-Type": "text/plain"}), # 415
    ("GET", "/v1/nothing", None, {}),                                        # 404
])
def test_the_key_comes_first(locked, method, path, body, headers):
    """Without a key nothing is told about what is there."""
    answer = request_once(locked.port, method, path, body, headers)
    assert (answer.status, answer.error["code"]) == (401, "missing_api_key")


def test_probes_need_no_key(locked):
    for path in ("/health", "/livez", "/readyz"):
        assert request_once(locked.port, "GET", path).status == 200


def test_open_proxy(start_gateway, upstream):
    gateway = start_gateway([target(upstream.url)], environment={"ALLOW_UNAUTHENTICATED_PROXY": "true"})
    assert chat_once(gateway.port, GOOD).status == 200
    assert chat_once(gateway.port, GOOD, {"Authorization": "Bearer anything"}).status == 200


def test_loopback_needs_no_key(gateway):
    assert chat_once(gateway.port, GOOD).status == 200


def test_off_loopback_needs_a_decision(tmp_path, upstream):
    """Refused with both ways out named."""
    config = write_config(tmp_path / "config.yaml", [target(upstream.url)])
    code, log = run_to_end(["serve", "--config", config, "--listen", f"0.0.0.0:{free_port()}"], tmp_path,
                           environment={"TEST_UPSTREAM_KEY": "k"})
    assert code == 1
    assert "MASTER_KEY" in log and "ALLOW_UNAUTHENTICATED_PROXY" in log


@pytest.mark.parametrize("environment", [{"MASTER_KEY": MASTER}, {"ALLOW_UNAUTHENTICATED_PROXY": "true"}])
def test_off_loopback_with_a_decision(start_gateway, upstream, environment):
    gateway = start_gateway([target(upstream.url)], wait=False, environment=environment,
                            arguments=["--listen", f"0.0.0.0:{(port := free_port())}"], port=port)
    gateway.wait_ready()
    assert chat_once(port, GOOD, BEARER).status == 200
