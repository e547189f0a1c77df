"""Who may use the gateway: the master key, the open proxy, and loopback without either."""

import json

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


# ---- wrong keys, by address ----


def slowed(start_gateway, upstream, environment=None, **config):
    return start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER, **(environment or {})},
                         config={"auth": {"max_failures": 5, "failure_window": "1h"}, **config})


def tried(port, headers, times=10, path="/v1/models"):
    return [request_once(port, "GET", path, None, {"Authorization": f"Bearer guess-{i}", **headers}).status
            for i in range(times)]


def test_clients_of_a_trusted_proxy_are_told_apart(start_gateway, upstream):
    gateway = slowed(start_gateway, upstream)  # loopback is trusted, unless something else is said
    assert tried(gateway.port, {"X-Forwarded-For": "203.0.113.9"}) == [401] * 5 + [429] * 5
    assert request_once(gateway.port, "GET", "/v1/models", None, {**BEARER, "X-Forwarded-For": "203.0.113.9"}).status == 429
    for headers in ({"X-Forwarded-For": "203.0.113.9, 203.0.113.10"}, {"X-Real-IP": "203.0.113.11"}, {}):
        assert request_once(gateway.port, "GET", "/v1/models", None, {**BEARER, **headers}).status == 200
    # what a client puts in front of what the proxy adds changes nothing
    assert tried(gateway.port, {"X-Forwarded-For": "1.2.3.4, 203.0.113.9, 127.0.0.1"}, 1) == [429]
    assert gateway.log_lines(peer="203.0.113.9") and gateway.log_lines(peer="203.0.113.11")


@pytest.mark.parametrize("environment, config", [({"TRUSTED_PROXIES": "10.0.0.0/8"}, {}), ({}, {"trusted_proxies": []})])
def test_nobody_else_says_where_he_comes_from(start_gateway, upstream, environment, config):
    gateway = slowed(start_gateway, upstream, environment, **config)
    statuses = [status for i in range(10) for status in tried(gateway.port, {"X-Forwarded-For": f"203.0.113.{i}"}, 1)]
    assert statuses == [401] * 5 + [429] * 5
    assert not [line for line in gateway.log_lines() if str(line.get("peer", "")).startswith("203")]


def test_addresses_of_limits_are_those_of_clients(start_gateway, upstream):
    limit = {"name": "rate-limit", "type": "ratelimit", "stage": "before_request", "enabled": True,
             "config": {"address_rpm": 2}}
    gateway = start_gateway([target(upstream.url)], config={"plugins": [limit]})
    for client in ("203.0.113.1", "2001:db8::1"):
        statuses = [chat_once(gateway.port, GOOD, {"X-Forwarded-For": client}).status for _ in range(3)]
        assert statuses == [200, 200, 429], client
    assert chat_once(gateway.port, GOOD, {"X-Forwarded-For": "2001:db8::2"}).status == 429  # the same /64


@pytest.mark.parametrize("environment, config", [({"TRUSTED_PROXIES": "10.0.0.0/8,nonsense"}, {}),
                                                 ({}, {"trusted_proxies": ["10.0.0.0/40"]})])
def test_what_is_no_network_ends_the_start(tmp_path, upstream, environment, config):
    path = write_config(tmp_path / "config.yaml", [target(upstream.url)], **config)
    code, log = run_to_end(["serve", "--config", path, "--listen", f"127.0.0.1:{free_port()}"], tmp_path,
                           environment={"TEST_UPSTREAM_KEY": "k", **environment})
    assert code == 1 and ("TRUSTED_PROXIES" in log or "trusted_proxies" in log)


def test_an_open_gateway_slows_who_tries_out_its_master_key(start_gateway, upstream):
    """Requests go on: nobody asked for a key. Operators wait."""
    gateway = slowed(start_gateway, upstream, {"ALLOW_UNAUTHENTICATED_PROXY": "true"})
    assert request_once(gateway.port, "GET", "/admin/keys", None, BEARER).status == 501
    assert tried(gateway.port, {}, 8, "/admin/keys") == [401] * 5 + [429] * 3
    answer = request_once(gateway.port, "GET", "/admin/keys", None, BEARER)
    assert answer.status == 429 and 0 < int(answer.header("retry-after")) <= 720
    assert chat_once(gateway.port, GOOD, {"Authorization": "Bearer anything"}).status == 200
    assert chat_once(gateway.port, GOOD).status == 200


def test_who_is_refused_is_refused_alike(start_gateway, upstream, tmp_path):
    """Every wrong credential in every place: the same words, the same headers, nothing about what there is."""
    gateway = start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER},
                            config={"keys": {"file": str(tmp_path / "keys.jsonl")}, "auth": {"max_failures": 0}})

    def made(**fields):
        body = json.dumps({"name": "x", **fields}).encode()
        return request_once(gateway.port, "POST", "/admin/keys", body, BEARER).json()

    good, revoked, deleted, rotated = made(), made(), made(), made()
    request_once(gateway.port, "POST", f"/admin/keys/{revoked['id']}/revoke", None, BEARER)
    request_once(gateway.port, "DELETE", f"/admin/keys/{deleted['id']}", None, BEARER)
    request_once(gateway.port, "POST", f"/admin/keys/{rotated['id']}/rotate", None, BEARER)
    wrong = [revoked["key"], deleted["key"], rotated["key"], good["key"][:-1] + "g", good["key"].upper(),
             "dyn_" + "0" * 16 + "_" + "0" * 64, "dyn_", good["id"], "x" * 600]
    places = [("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/admin/keys"),
              ("DELETE", f"/admin/keys/{good['id']}"), ("GET", "/admin/logs"), ("GET", "/v1/nothing")]
    seen = set()
    for key in wrong:
        for method, path in places:
            for name, value in (("Authorization", f"Bearer {key}"), ("x-api-key", key)):
                body = json.dumps(GOOD).encode() if method == "POST" else None
                answer = request_once(gateway.port, method, path, body, {name: value})
                changing = ("date", "x-request-id", "x-dynabus-overhead-us")
                headers = tuple(sorted(pair for pair in answer.headers if pair[0] not in changing))
                seen.add((answer.status, answer.body, headers))
    assert len(seen) == 1 and next(iter(seen))[0] == 401, seen
    assert upstream.received() == []
    # with a key that is good, but not for that: 403 whether there is such a key or not
    refusals = {request_once(gateway.port, "DELETE", "/admin/keys/" + ident, None,
                             {"Authorization": f"Bearer {good['key']}"}).body for ident in (good["id"], "0" * 16)}
    assert len(refusals) == 1 and b"insufficient_scope" in refusals.pop()
