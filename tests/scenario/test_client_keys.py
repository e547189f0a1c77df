"""Keys of clients: made, used, limited to models and targets, rotated, revoked; over HTTP and over the bus."""

import fcntl
import json
import os
import re
import time

import pytest

from harness.bus import Client, free_base
from harness.gateway import run_to_end, target, write_config
from harness.fleet import MASTER_KEY, Fleet, until
from harness.http import Connection, request_once
from harness.process import free_port

MASTER = "master-key-for-tests"
CHAT = "/v1/chat/completions"
KEY = re.compile(r"^dyn_[0-9a-f]{16}_[0-9a-f]{64}$")
LOOK_SECONDS = 5  # what another process changed is in force within one; the rest is for slow machines


def good(model="test-model"):
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}]}).encode()


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


class Admin:
    """What an operator sends."""

    def __init__(self, port, key=MASTER):
        self.port, self.key = port, key

    def ask(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        return request_once(self.port, method, "/admin/" + path, data, bearer(self.key))

    def create(self, **fields):
        answer = self.ask("POST", "keys", {"name": "a key", **fields})
        assert answer.status == 201, answer
        assert answer.header("cache-control") == "no-store"
        return answer.json()


def chat(port, key, model="test-model", headers=None):
    return request_once(port, "POST", CHAT, good(model), headers or bearer(key))


def refusal(answer):
    return answer.status, answer.error["code"]


@pytest.fixture
def gateway(start_gateway, upstream, tmp_path):
    targets = [target(upstream.url, "first", ["test-model", "small-1"]),
               target(upstream.url, "second", ["test-model", "other"])]
    return start_gateway(targets, environment={"MASTER_KEY": MASTER}, arguments=["--cells", "2"],
                         config={"keys": {"file": str(tmp_path / "keys.jsonl")},
                                 "aliases": {"tiny": "small-1"},
                                 "strategy": {"mode": "fallback"}})


@pytest.fixture
def admin(gateway):
    return Admin(gateway.port)


def test_a_key_is_shown_once_and_works(gateway, admin, upstream, tmp_path):
    made = admin.create(name="mine", metadata={"team": "blue"}, group="blue")
    secret = made["key"]
    assert KEY.match(secret) and made["scopes"] == ["inference"] and made["active"]
    for name in ("x-api-key", "api-key", "x-goog-api-key"):
        assert chat(gateway.port, None, headers={name: secret}).status == 200
    assert chat(gateway.port, secret).status == 200
    shown = admin.ask("GET", "keys/" + made["id"])
    assert shown.json()["key"] == f"dyn_{made['id']}_...{secret[-4:]}"
    assert shown.json()["metadata"] == {"team": "blue"} and shown.json()["usage_count"] == 4
    assert [key["id"] for key in admin.ask("GET", "keys").json()] == [made["id"]]
    stored = (tmp_path / "keys.jsonl").read_text()
    assert secret[-64:] not in stored and made["id"] in stored
    assert os.stat(tmp_path / "keys.jsonl").st_mode & 0o777 == 0o600
    assert secret not in gateway.log()
    assert secret not in str([request.headers for request in upstream.received()])
    assert made["id"] in gateway.log()


def test_what_is_refused_never_tells_whether_there_is_such_a_key(gateway, admin):
    made, gone, late = admin.create(), admin.create(), admin.create(expires_at="2999-01-01T00:00:00Z")
    assert admin.ask("POST", f"keys/{gone['id']}/revoke").json() == {"status": "revoked"}
    unknown = "dyn_" + "0" * 16 + "_" + "0" * 64
    answers = [chat(gateway.port, key) for key in
               (gone["key"], unknown, made["key"][:-1] + ("0" if made["key"][-1] != "0" else "1"), "x", unknown[:-1])]
    bodies = {answer.body for answer in answers}
    assert {answer.status for answer in answers} == {401} and len(bodies) == 1
    assert answers[0].error["code"] == "invalid_api_key"
    assert chat(gateway.port, late["key"]).status == 200


def test_models_and_targets(gateway, admin):
    named = admin.create(models=["small-*"])["key"]
    assert chat(gateway.port, named, "small-1").status == 200
    assert chat(gateway.port, named, "tiny").status == 200  # which is small-1
    assert refusal(chat(gateway.port, named)) == (403, "model_not_allowed")
    by_alias = admin.create(models=["tiny"])["key"]
    assert chat(gateway.port, by_alias, "tiny").status == 200
    assert refusal(chat(gateway.port, by_alias, "small-1")) == (403, "model_not_allowed")
    placed = admin.create(targets=["second"])["key"]
    answer = chat(gateway.port, placed)
    assert (answer.status, answer.header("x-dynabus-target")) == (200, "second")
    assert refusal(chat(gateway.port, placed, "small-1")) == (403, "target_not_allowed")
    assert chat(gateway.port, MASTER, "nothing").status == 404
    assert chat(gateway.port, placed, "nothing").status == 404


def test_scopes(gateway, admin):
    keys = {scope: admin.create(scopes=[scope])["key"] for scope in ("inference", "read_only", "admin")}
    allowed = {
        ("POST", CHAT, good()): {"inference", "admin"},
        ("GET", "/v1/models", None): {"inference", "read_only", "admin"},
        ("GET", "/metrics", None): {"read_only", "admin"},
        ("GET", "/admin/keys", None): {"read_only", "admin"},
        ("POST", "/admin/keys", b'{"name":"x"}'): {"admin"},
        ("POST", "/admin/explain", b'{"request":' + good() + b"}"): {"read_only", "admin"},
    }
    for (method, path, body), scopes in allowed.items():
        for scope, key in keys.items():
            answer = request_once(gateway.port, method, path, body, bearer(key))
            if scope in scopes:
                assert answer.status < 300, (path, scope, answer)
            else:
                assert refusal(answer) == (403, "insufficient_scope"), (path, scope)
    assert refusal(admin.ask("POST", "keys", {"name": "x", "scopes": ["root"]})) == (400, "invalid_scope")


def test_rotation_ends_the_former_secret(gateway, admin):
    made = admin.create()
    rotated = admin.ask("POST", f"keys/{made['id']}/rotate")
    assert rotated.status == 200 and rotated.header("cache-control") == "no-store"
    assert rotated.json()["id"] == made["id"] and rotated.json()["rotated_at"]
    assert chat(gateway.port, made["key"]).status == 401
    assert chat(gateway.port, rotated.json()["key"]).status == 200


def test_a_revoked_key_is_refused_by_all_cells_at_once(gateway, admin):
    """Also on connections that have been using it."""
    made = admin.create()
    connections = [Connection(gateway.port) for _ in range(8)]
    body = json.loads(good())
    assert {c.chat(body, bearer(made["key"])).status for c in connections} == {200}
    assert admin.ask("DELETE", "keys/" + made["id"]).status == 204
    assert {c.chat(body, bearer(made["key"])).status for c in connections} == {401}
    assert refusal(admin.ask("GET", "keys/" + made["id"])) == (404, "resource_not_found")
    for connection in connections:
        connection.close()


def test_an_update_changes_all_or_nothing(gateway, admin):
    made = admin.create(name="before", limits={"requests_per_minute": 5}, budget={"day_usd": 0.25})
    path = "keys/" + made["id"]
    assert made["limits"] == {"requests_per_minute": 5} and made["budget"] == {"day_usd": 0.25}
    for body, param in (({"name": "after", "expires_at": "yesterday"}, "expires_at"),
                        ({"name": "after", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
                        ({"name": "after", "limits": {"requests": 1}}, "limits"),
                        ({"name": "after", "budget": {"day_usd": -1}}, "budget"),
                        ({"name": "", "scopes": []}, "name")):
        answer = admin.ask("PUT", path, body)
        assert (answer.status, answer.error["param"]) == (400, param)
    assert admin.ask("PUT", path, {"nme": "x"}).status == 400
    assert admin.ask("GET", path).json()["name"] == "before"
    answer = admin.ask("PUT", path, {"name": "after", "expires_at": "2999-12-31T23:59:59+01:00"})
    assert answer.status == 200 and answer.json()["expires_at"].startswith("2999-12-31T22:59:59")
    assert "key" in answer.json() and made["key"] not in str(answer.body)
    assert admin.ask("PUT", path, {"clear_expiration": True}).json()["expires_at"] is None


def test_nobody_locks_himself_out(gateway, admin):
    own = admin.create(scopes=["admin"])
    path = "keys/" + own["id"]
    operator = Admin(gateway.port, own["key"])
    other = operator.create(scopes=["admin"])
    for question in (("DELETE", path), ("POST", path + "/revoke"), ("PUT", path, {"scopes": ["read_only"]}),
                     ("PUT", path, {"expires_at": "2999-01-01T00:00:00Z"})):
        assert refusal(operator.ask(*question)) == (409, "self_mutation_forbidden"), question
    assert operator.ask("POST", f"keys/{other['id']}/revoke").status == 200
    for question in (("DELETE", path), ("POST", path + "/revoke"), ("PUT", path, {"scopes": ["read_only"]})):
        assert refusal(admin.ask(*question)) == (409, "last_admin_key"), question
    assert operator.ask("PUT", path, {"name": "renamed"}).json()["name"] == "renamed"


def test_usage(gateway, admin):
    busy, idle = admin.create(name="busy"), admin.create(name="idle")
    for _ in range(3):
        assert chat(gateway.port, busy["key"]).status == 200
    answer = admin.ask("GET", "keys/usage?limit=1").json()
    assert [key["name"] for key in answer["data"]] == ["busy"]
    assert answer["summary"] == {"total_keys": 2, "active_keys": 2, "total_usage": 3, "returned_keys": 1}
    assert admin.ask("GET", "keys/usage?since=2999-01-01T00%3A00%3A00Z").json()["data"] == []
    assert admin.ask("POST", f"keys/{idle['id']}/revoke").status == 200
    names = [key["name"] for key in admin.ask("GET", "keys/usage?active=false").json()["data"]]
    assert names == ["idle"]
    for query in ("limit=0", "limit=101", "limit=x", "sort=name", "active=1", "since=today"):
        assert admin.ask("GET", "keys/usage?" + query).status == 400, query


@pytest.mark.parametrize("method, path, status", [
    ("GET", "keys/0000000000000000", 404), ("PATCH", "keys", 405), ("PUT", "keys", 405),
    ("GET", "keys/usage/x", 405), ("POST", "keys/0000000000000000/burn", 405), ("GET", "nothing", 404),
    ("GET", "keysx", 404), ("GET", "keys/" + "a" * 2000, 400),
])
def test_questions_that_there_are_not(gateway, admin, method, path, status):
    assert admin.ask(method, path, {} if method != "GET" else None).status == status
    nobody = request_once(gateway.port, method, "/admin/" + path, None, {})
    assert refusal(nobody) == (401, "missing_api_key")


def test_keys_outlive_the_gateway(start_gateway, upstream, tmp_path):
    config = {"keys": {"file": str(tmp_path / "keys.jsonl")}}
    first = start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER}, config=config)
    made = Admin(first.port).create(scopes=["admin"], models=["test-model"])
    first.stop()
    second = start_gateway([target(upstream.url)], config=config)  # a key is enough, MASTER_KEY is not needed
    assert chat(second.port, made["key"]).status == 200
    assert refusal(chat(second.port, MASTER)) == (401, "invalid_api_key")
    assert chat(second.port, made["key"], headers={"X": "y"}).status == 401


def test_without_a_usable_key_nobody_could_get_in(tmp_path, upstream):
    config = write_config(tmp_path / "c.yaml", [target(upstream.url)], keys={"file": str(tmp_path / "none")})
    code, log = run_to_end(["serve", "--config", config, "--listen", f"127.0.0.1:{free_port()}"], tmp_path,
                           environment={"TEST_UPSTREAM_KEY": "k"})
    assert code == 1 and "MASTER_KEY" in log


def test_a_broken_file_is_not_half_of_the_keys(tmp_path, upstream):
    path = tmp_path / "keys.jsonl"
    path.write_text('{"id":"0123456789abcdef","name":"x","scopes":["admin"]}\nrubbish\n')
    config = write_config(tmp_path / "c.yaml", [target(upstream.url)], keys={"file": str(path)})
    code, log = run_to_end(["serve", "--config", config, "--listen", f"127.0.0.1:{free_port()}"], tmp_path,
                           environment={"TEST_UPSTREAM_KEY": "k", "MASTER_KEY": MASTER})
    assert code == 1 and "keys.jsonl:2" in log


def test_no_store_no_keys(start_gateway, upstream):
    gateway = start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER})
    assert refusal(Admin(gateway.port).ask("GET", "keys")) == (501, "not_implemented")


def test_open_is_not_open_to_operators(start_gateway, upstream, tmp_path):
    gateway = start_gateway([target(upstream.url)], environment={"ALLOW_UNAUTHENTICATED_PROXY": "true"},
                            config={"keys": {"file": str(tmp_path / "keys.jsonl")}})
    assert chat(gateway.port, "anything").status == 200
    assert refusal(request_once(gateway.port, "GET", "/admin/keys")) == (401, "missing_api_key")
    assert refusal(Admin(gateway.port, "anything").ask("GET", "keys")) == (401, "invalid_api_key")


def test_who_tries_out_keys_is_slowed(start_gateway, upstream, tmp_path):
    gateway = start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER},
                            config={"keys": {"file": str(tmp_path / "keys.jsonl")},
                                    "auth": {"max_failures": 5, "failure_window": "1h"}})
    key = Admin(gateway.port).create()["key"]
    for _ in range(5):
        assert chat(gateway.port, "wrong").status == 401
    slowed = chat(gateway.port, "wrong")
    assert refusal(slowed) == (429, "rate_limit_exceeded")
    assert 0 < int(slowed.header("retry-after")) <= 720
    assert chat(gateway.port, MASTER).status == 429  # what could be guessed is not looked at
    assert chat(gateway.port, key).status == 200     # what can't be is
    assert chat(gateway.port, key[:-1] + "x").status == 429
    assert request_once(gateway.port, "POST", CHAT, good(), {}).status == 401


def test_a_key_that_is_over_is_no_guess(start_gateway, upstream, tmp_path):
    """A program that goes on with an old key does not lock those out who share its address."""
    gateway = start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER},
                            config={"keys": {"file": str(tmp_path / "keys.jsonl")},
                                    "auth": {"max_failures": 5, "failure_window": "1h"}})
    admin = Admin(gateway.port)
    over = admin.create()
    assert admin.ask("POST", f"keys/{over['id']}/revoke").status == 200
    bodies = {chat(gateway.port, over["key"]).body for _ in range(30)}
    assert chat(gateway.port, MASTER).status == 200
    bodies |= {chat(gateway.port, over["key"][:-1] + "x").body}
    assert len(bodies) == 1  # nothing tells that there was such a key


def test_the_last_admin_key_does_not_end_sooner(gateway, admin):
    last = admin.create(scopes=["admin"], expires_at="2990-01-01T00:00:00Z")
    path = "keys/" + last["id"]
    assert refusal(admin.ask("PUT", path, {"expires_at": "2980-01-01T00:00:00Z"})) == (409, "last_admin_key")
    assert admin.ask("PUT", path, {"expires_at": "2995-01-01T00:00:00Z"}).status == 200
    admin.create(scopes=["admin"])
    assert admin.ask("PUT", path, {"expires_at": "2980-01-01T00:00:00Z"}).status == 200


def test_a_held_lock_stops_nobody(gateway, admin, tmp_path):
    """Another process that writes keys was stopped while it held the file."""
    made = admin.create()
    with open(tmp_path / "keys.jsonl.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert refusal(admin.ask("POST", "keys", {"name": "x"})) == (503, "keys_unavailable")
        assert admin.ask("GET", "keys/" + made["id"]).status == 200
        assert chat(gateway.port, made["key"]).status == 200
        gateway.stop()


def test_nobody_says_who_he_is_but_by_his_key(start_gateway, upstream, tmp_path):
    """Over the bus a request may have any headers; that of the asker is the router's."""
    base = free_base()
    gateway = start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER},
                            config={"keys": {"file": str(tmp_path / "keys.jsonl")},
                                    "bus": {"listen": f"tcp://127.0.0.1:{base}"}})
    own = Admin(gateway.port).create(scopes=["admin"])
    Admin(gateway.port).create(scopes=["admin"])
    client = Client(f"tcp://127.0.0.1:{base}")
    for headers in ([["x-dynabus-key", "master"]], [["X-Dynabus-Key", "master"]] * 16):
        of = client.request(surface="admin", model=f"DELETE keys/{own['id']}", cred=own["key"].encode(), v=[1, 3],
                            headers=headers)
        head = client.until_end(of)[-1][0]
        assert (head["outcome"], head["error"]) == ("error", "SELF_MUTATION"), head
    denied = gateway.log_lines(event="audit", outcome="denied")
    assert {line["actor_id"] for line in denied} == {own["id"]}
    for wrong in (b"wrong", (own["key"][:-1] + "x").encode()):
        of = client.request(good(), cred=wrong, v=[1, 3])
        assert client.until_end(of)[-1][0]["error"] == "INVALID_API_KEY"
    client.close()


def test_a_link_to_the_file_stays_one(start_gateway, upstream, tmp_path):
    real, link = tmp_path / "real.jsonl", tmp_path / "keys.jsonl"
    real.write_text("")
    real.chmod(0o600)
    link.symlink_to(real)
    gateway = start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER}, config={"keys": {"file": str(link)}})
    made = Admin(gateway.port).create()
    assert link.is_symlink() and made["id"] in real.read_text()


def test_a_change_of_the_file_is_taken_up(gateway, admin, tmp_path):
    """As by another process of the same machine."""
    key = admin.create()["key"]
    assert chat(gateway.port, key).status == 200
    path = tmp_path / "keys.jsonl"
    replaced = tmp_path / "other"
    replaced.write_text("")
    replaced.rename(path)
    until(lambda: chat(gateway.port, key).status == 401, "the key to be gone", LOOK_SECONDS)


def test_limits_of_a_key_hold_without_a_plugin(gateway, admin):
    """What stands in a key is counted by whoever lists no plugin for it; a key without limits costs no vote."""
    limited, free = admin.create(limits={"requests_per_day": 3})["key"], admin.create()["key"]
    answers = [chat(gateway.port, limited) for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[0].header("x-ratelimit-limit-requests") == "3"
    assert refusal(answers[3]) == (429, "rate_limit_exceeded") and int(answers[3].header("retry-after")) > 0
    for _ in range(5):
        answer = chat(gateway.port, free)
        assert answer.status == 200 and answer.header("x-ratelimit-limit-requests") is None
    assert chat(gateway.port, MASTER).header("x-ratelimit-limit-requests") is None
    tokens = admin.create(limits={"tokens_per_minute": 1000})["key"]
    body = json.dumps({"model": "test-model", "max_tokens": 900, "messages": [{"role": "user", "content": "x"}]}).encode()
    answer = request_once(gateway.port, "POST", CHAT, body, bearer(tokens))
    assert answer.status == 200 and answer.header("x-ratelimit-limit-tokens") == "1000"
    too_many = request_once(gateway.port, "POST", CHAT, body.replace(b"900", b"1000"), bearer(tokens))
    assert refusal(too_many) == (429, "rate_limit_exceeded")


def test_a_budget_of_a_key_holds_without_a_plugin(start_gateway, upstream, tmp_path):
    gateway = start_gateway([target(upstream.url, models=["gpt-4o"])], environment={"MASTER_KEY": MASTER},
                            config={"keys": {"file": str(tmp_path / "keys.jsonl")}})
    admin = Admin(gateway.port)
    poor, rich, free = (admin.create(**fields)["key"] for fields in
                        ({"budget": {"day_usd": 0.000001}}, {"budget": {"day_usd": 1000}}, {}))
    refused = chat(gateway.port, poor, "gpt-4o")
    assert refusal(refused) == (402, "insufficient_quota"), refused
    assert chat(gateway.port, rich, "gpt-4o").status == 200
    assert chat(gateway.port, free, "gpt-4o").status == 200


def test_a_plugin_that_is_listed_is_the_one(start_gateway, upstream, tmp_path):
    """Also one that is not enabled: then nobody counts."""
    off = {"name": "rate-limit", "type": "ratelimit", "stage": "before_request", "enabled": False, "config": {}}
    gateway = start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER},
                            config={"keys": {"file": str(tmp_path / "keys.jsonl")}, "plugins": [off]})
    key = Admin(gateway.port).create(limits={"requests_per_day": 1})["key"]
    assert [chat(gateway.port, key).status for _ in range(3)] == [200] * 3
    own = {**off, "enabled": True, "config": {"requests_per_second": 1000}}
    gateway = start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER},
                            config={"keys": {"file": str(tmp_path / "other.jsonl")}, "plugins": [own]})
    key = Admin(gateway.port).create(limits={"requests_per_day": 1})["key"]
    assert [chat(gateway.port, key).status for _ in range(3)] == [200, 429, 429]


@pytest.fixture
def fleet(tmp_path, upstream):
    made = Fleet(tmp_path, upstream.url, routers=2, curve=True, keys={"file": str(tmp_path / "keys.jsonl")},
                 auth={"max_failures": 0})  # the test asks with a revoked key until both refuse it
    try:
        yield made
        made.stop()
    finally:
        made.close()


def test_two_routers_of_a_fleet(fleet, upstream):
    """Edges on tcp with two routers beside one file: what one creates or revokes holds at the other."""
    fleet.router(1)
    edge = fleet.start()
    admin = Admin(edge.port, MASTER_KEY)
    made = admin.create(targets=["upstream"])
    path = "keys/" + made["id"]

    def statuses():
        return {chat(edge.port, made["key"]).status for _ in range(8)}

    until(lambda: statuses() == {200}, "both routers to know the key", LOOK_SECONDS)
    began = time.monotonic()
    assert admin.ask("POST", path + "/revoke").status == 200
    until(lambda: statuses() == {401}, "both routers to refuse the key", LOOK_SECONDS)
    print(f"revoked everywhere after {time.monotonic() - began:.3f} s")


def admin_command(gateway, tmp_path, *words, key=MASTER, code=0):
    arguments = ["admin", "keys", *words, "--gateway-url", f"http://127.0.0.1:{gateway.port}"]
    got, output = run_to_end(arguments, tmp_path, environment={"MASTER_KEY": key} if key else {})
    assert got == code, output
    return output


def test_the_command(gateway, tmp_path):
    """What `dynabus admin keys` prints is what /admin/keys says, and its keys work."""
    made = admin_command(gateway, tmp_path, "create", "--name", "by hand", "--model", "small-*", "--expires-in", "90d")
    secret = re.search(r"dyn_[0-9a-f]{16}_[0-9a-f]{64}", made).group()
    ident = secret[4:20]
    assert chat(gateway.port, secret, "small-1").status == 200
    assert chat(gateway.port, secret).status == 403
    listed = admin_command(gateway, tmp_path, "list")
    assert ident in listed and "by hand" in listed and secret not in listed
    shown = json.loads(admin_command(gateway, tmp_path, "get", ident, "--format", "json"))
    assert shown["models"] == ["small-*"] and shown["expires_at"]
    assert admin_command(gateway, tmp_path, "update", ident, "--expires-in", "never", "--name", "other")
    shown = json.loads(admin_command(gateway, tmp_path, "get", ident, "--format", "json"))
    assert (shown["name"], shown["expires_at"]) == ("other", None)
    rotated = admin_command(gateway, tmp_path, "rotate", ident)
    assert chat(gateway.port, secret, "small-1").status == 401
    secret = re.search(r"dyn_[0-9a-f]{16}_[0-9a-f]{64}", rotated).group()
    assert chat(gateway.port, secret, "small-1").status == 200
    assert "revoked" in admin_command(gateway, tmp_path, "revoke", ident)
    assert chat(gateway.port, secret, "small-1").status == 401
    assert "revoked" in admin_command(gateway, tmp_path, "list")
    assert "deleted" in admin_command(gateway, tmp_path, "delete", ident)
    assert "there is no key with this id" in admin_command(gateway, tmp_path, "get", ident, code=1)
    assert "401" in admin_command(gateway, tmp_path, "list", key="wrong", code=1)
    assert "no key" in admin_command(gateway, tmp_path, "list", key=None, code=1)
    for words in (("burn",), ("create",), ("get",), ("get", "../x"), ("list", "--format", "xml"),
                  ("create", "--name", "x", "--expires-in", "soon")):
        admin_command(gateway, tmp_path, *words, code=2)
