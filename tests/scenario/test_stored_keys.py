"""Keys that the ledger keeps for all routers of a gateway: made by one, good at all, refused by all; with the ledger
killed, away for too long, and back; and the audit of who did what."""

import json
import os
import signal
import sqlite3
import time

import pytest

from harness.bus import Client
from harness.fleet import MASTER_KEY, Fleet, until
from harness.gateway import run_to_end, target, write_config
from harness.http import request_once
from harness.process import Process, free_port

MASTER = "master-key-for-tests"
CHAT = "/v1/chat/completions"
GOOD = json.dumps({"model": "test-model", "messages": [{"role": "user", "content": "x"}]}).encode()
LOOK_SECONDS = 5  # what another router changed is in force within one; the rest is for slow machines
STALE_SECONDS = 3


def bearer(key):
    return {"Authorization": f"Bearer {key}"} if key else {}


def admin(port, method, path, body=None, key=MASTER):
    data = json.dumps(body).encode() if body is not None else None
    return request_once(port, method, "/admin/" + path, data, bearer(key))


def create(port, key=MASTER, **fields):
    answer = admin(port, "POST", "keys", {"name": "a key", **fields}, key)
    assert answer.status == 201, answer
    return answer.json()


def chat(port, key):
    return request_once(port, "POST", CHAT, GOOD, bearer(key))


def refusal(answer):
    return answer.status, answer.error["code"]


def rows(store, query):
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query)]
    except sqlite3.OperationalError:
        return []


@pytest.fixture
def store(tmp_path):
    return tmp_path / "kept.db"


def config_of(store, **more):
    return {"store": {"backend": "sqlite", "dsn": str(store)}, **more}


# ---- one process ----


def start(start_gateway, upstream, store, environment=None, **more):
    return start_gateway([target(upstream.url)], environment=environment or {"MASTER_KEY": MASTER},
                         arguments=["--cells", "2"], config=config_of(store, **more))


def test_keys_survive_in_the_store(start_gateway, upstream, store):
    first = start(start_gateway, upstream, store)
    fields = {"name": "ours", "scopes": ["inference", "admin"], "models": ["test-*"], "targets": ["upstream"],
              "limits": {"requests_per_minute": 50}, "budget": {"day_usd": 0.25}, "group": "blue",
              "metadata": {"a": [1, "ü"]}, "expires_at": "2999-01-01T00:00:00Z"}
    made = create(first.port, **fields)
    secret = made["key"]
    assert [chat(first.port, secret).status for _ in range(3)] == [200] * 3
    gone = create(first.port)
    assert admin(first.port, "DELETE", "keys/" + gone["id"]).status == 204
    first.stop()
    assert secret[-64:].encode() not in store.read_bytes()
    second = start(start_gateway, upstream, store, environment={"X": "y"})  # a key is enough
    assert chat(second.port, secret).status == 200
    assert refusal(chat(second.port, gone["key"])) == (401, "invalid_api_key")
    assert refusal(chat(second.port, MASTER)) == (401, "invalid_api_key")
    shown = admin(second.port, "GET", "keys/" + made["id"], key=secret).json()
    assert {name: shown[name] for name in fields if name != "expires_at"} == \
        {name: value for name, value in fields.items() if name != "expires_at"}
    assert shown["key"] == f"dyn_{made['id']}_...{secret[-4:]}" and shown["expires_at"].startswith("2999-01-01")
    assert shown["usage_count"] == 5 and shown["last_used_at"]
    assert [key["id"] for key in admin(second.port, "GET", "keys", key=secret).json()] == [made["id"]]


def test_a_store_without_keys_leaves_loopback_open_until_the_first(start_gateway, upstream, store):
    first = start(start_gateway, upstream, store, environment={"X": "y"})
    assert chat(first.port, None).status == 200
    assert refusal(admin(first.port, "GET", "keys", key=None)) == (401, "missing_api_key")
    first.stop()
    second = start(start_gateway, upstream, store)
    made = create(second.port, scopes=["admin"])
    assert refusal(chat(second.port, None)) == (401, "missing_api_key")
    second.stop()
    third = start(start_gateway, upstream, store, environment={"X": "y"})
    assert refusal(chat(third.port, None)) == (401, "missing_api_key")
    assert chat(third.port, made["key"]).status == 200


def test_a_store_without_keys_is_no_way_in_from_the_network(tmp_path, upstream, store):
    config = write_config(tmp_path / "c.yaml", [target(upstream.url)], **config_of(store))
    code, log = run_to_end(["serve", "--config", config, "--listen", f"0.0.0.0:{free_port()}"], tmp_path,
                           environment={"TEST_UPSTREAM_KEY": "k"})
    assert code == 1 and "MASTER_KEY" in log


def test_a_file_of_keys_goes_before_the_store(start_gateway, upstream, store, tmp_path):
    gateway = start(start_gateway, upstream, store, keys={"file": str(tmp_path / "keys.jsonl")})
    made = create(gateway.port)
    assert made["id"] in (tmp_path / "keys.jsonl").read_text()
    assert rows(store, "SELECT * FROM api_keys") == []
    until(lambda: [row["action"] for row in rows(store, "SELECT action FROM audit")] == ["key.create"], "the row")


AUDIT = "SELECT * FROM audit ORDER BY rowid"


def test_who_changed_what_is_a_row(start_gateway, upstream, store):
    gateway = start(start_gateway, upstream, store)
    boss = create(gateway.port, name="boss", scopes=["admin"])
    other = create(gateway.port, name="other")
    reader = create(gateway.port, name="reader", scopes=["read_only"])
    path = "keys/" + other["id"]
    assert admin(gateway.port, "PUT", path, {"name": "renamed"}, boss["key"]).status == 200
    assert admin(gateway.port, "POST", path + "/rotate", None, boss["key"]).status == 200
    assert admin(gateway.port, "POST", path + "/revoke", None, boss["key"]).status == 200
    assert admin(gateway.port, "DELETE", path, None, boss["key"]).status == 204
    assert admin(gateway.port, "DELETE", path, None, boss["key"]).status == 404
    assert admin(gateway.port, "DELETE", "keys/" + boss["id"], None, boss["key"]).status == 409
    assert admin(gateway.port, "POST", "keys", {"name": "x", "scopes": ["root"]}).status == 400
    assert admin(gateway.port, "POST", path + "/revoke", None, reader["key"]).status == 403
    assert admin(gateway.port, "POST", "keys", {"name": "x"}, "wrong").status == 401
    assert admin(gateway.port, "POST", "keys", {"name": "x"}, None).status == 401
    assert admin(gateway.port, "GET", path, None, "wrong").status == 401
    wanted = [
        ("key.create", "ok", "master", None), ("key.create", "ok", "master", None), ("key.create", "ok", "master", None),
        ("key.update", "ok", boss["id"], "boss"), ("key.rotate", "ok", boss["id"], "boss"),
        ("key.revoke", "ok", boss["id"], "boss"), ("key.delete", "ok", boss["id"], "boss"),
        ("key.delete", "denied", boss["id"], "boss"), ("key.delete", "denied", boss["id"], "boss"),
        ("key.create", "denied", "master", None), ("key.revoke", "denied", reader["id"], "reader"),
        ("key.create", "denied", "-", None),
    ]
    until(lambda: len(rows(store, AUDIT)) >= len(wanted), "the rows")
    found = rows(store, AUDIT)
    got = [(row["action"], row["outcome"], row["actor_id"], row["actor"]) for row in found]
    assert sorted(map(str, got)) == sorted(map(str, wanted))
    by_action = {row["action"]: row for row in found if row["outcome"] == "ok"}
    assert by_action["key.update"]["target_id"] == other["id"]
    assert json.loads(by_action["key.update"]["detail"])["key"]["name"] == "renamed"
    assert {row["source_ip"] for row in found} == {"127.0.0.1"}
    assert len({row["id"] for row in found}) == len(found) and all(len(row["id"]) == 32 for row in found)
    errors = [json.loads(row["detail"])["error"] for row in found if row["outcome"] == "denied"]
    assert sorted(errors) == ["insufficient_scope", "invalid_api_key", "invalid_scope", "resource_not_found",
                              "self_mutation_forbidden"]
    for key in (boss, other, reader):
        assert key["key"][-64:] not in str(found)


def test_a_full_or_locked_store_changes_nothing(start_gateway, upstream, store):
    """Who can't store a change says so; keys that are there go on."""
    gateway = start(start_gateway, upstream, store)
    made = create(gateway.port)
    lock = sqlite3.connect(store, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    refused = admin(gateway.port, "POST", f"keys/{made['id']}/revoke")
    assert refusal(refused) == (503, "ledger_unavailable")
    assert chat(gateway.port, made["key"]).status == 200
    lock.execute("ROLLBACK")
    lock.close()
    assert admin(gateway.port, "POST", f"keys/{made['id']}/revoke").status == 200
    assert chat(gateway.port, made["key"]).status == 401


# ---- a fleet ----


class Party:
    """Two routers, a ledger, a provider and an edge; and a client of the bus at each router."""

    def __init__(self, directory, upstream, store):
        self.fleet = Fleet(directory, upstream.url, routers=2,
                           **config_of(store, keys={"max_stale": f"{STALE_SECONDS}s"}, auth={"max_failures": 0}))
        self.ledger = self.start_ledger()
        self.second_router = self.fleet.router(1)
        self.edge = self.fleet.start()
        self.clients = [Client(endpoint) for endpoint in self.fleet.endpoints]

    def start_ledger(self):
        fleet = self.fleet
        return fleet.add(Process(fleet.words("ledger"), fleet.log_path("ledger"), environment=fleet.variables("ledger")))

    def ask(self, client, key):
        of = client.request(GOOD, cred=key.encode(), v=[1, 3])
        head = client.until_end(of)[-1][0]
        return head.get("error", "ok") if head["outcome"] != "ok" else "ok"

    def said(self, key):
        return [self.ask(client, key) for client in self.clients]

    def admin(self, *question):
        return admin(self.edge.port, *question, key=MASTER_KEY)

    def close(self):
        for client in self.clients:
            client.close()
        self.fleet.close()


@pytest.fixture
def party(tmp_path, upstream, store):
    made = Party(tmp_path, upstream, store)
    yield made
    made.close()


def test_a_key_holds_at_all_routers_and_ends_at_all(party, store):
    made = create(party.edge.port, MASTER_KEY)
    began = time.monotonic()
    until(lambda: party.said(made["key"]) == ["ok", "ok"], "both routers to know the key", LOOK_SECONDS)
    print(f"good everywhere after {time.monotonic() - began:.3f} s")
    for _ in range(6):
        assert party.said(made["key"]) == ["ok", "ok"]
    path = "keys/" + made["id"]
    used = "SELECT usage_count, last_used_us FROM api_keys"
    until(lambda: [row["usage_count"] for row in rows(store, used)] >= [12], "uses as rows", LOOK_SECONDS)
    assert abs(rows(store, used)[0]["last_used_us"] / 1e6 - time.time()) < 60
    until(lambda: [party.admin("GET", path).json()["usage_count"]] == [row["usage_count"] for row in rows(store, used)],
          "both routers to tell what both counted", LOOK_SECONDS)
    rotated = party.admin("POST", path + "/rotate").json()["key"]
    until(lambda: party.said(made["key"]) == ["INVALID_API_KEY"] * 2, "the former secret to end", LOOK_SECONDS)
    assert party.said(rotated) == ["ok", "ok"]
    began = time.monotonic()
    assert party.admin("POST", path + "/revoke").status == 200
    until(lambda: party.said(rotated) == ["INVALID_API_KEY"] * 2, "both routers to refuse the key", LOOK_SECONDS)
    print(f"revoked everywhere after {time.monotonic() - began:.3f} s")
    assert party.admin("DELETE", path).status == 204
    until(lambda: {party.admin("GET", path).status for _ in range(8)} == {404}, "nobody to have it", LOOK_SECONDS)


def test_limits_of_a_key_hold_over_all_routers(party):
    """Without a plugin in the configuration, exactly so many pass at all routers together."""
    made = create(party.edge.port, MASTER_KEY, limits={"requests_per_day": 12})
    other = create(party.edge.port, MASTER_KEY)
    until(lambda: party.said(other["key"]) == ["ok", "ok"], "both routers to know the keys", LOOK_SECONDS)
    said = [word for _ in range(14) for word in party.said(made["key"])]
    assert said.count("ok") == 12 and said.count("RATE_LIMITED") == 16
    assert party.said(other["key"]) == ["ok", "ok"]


def test_keys_without_their_ledger(party):
    """They hold for `keys.max_stale`, then nobody can say who is good; a router that starts has to hear of them."""
    good, bad = create(party.edge.port, MASTER_KEY), create(party.edge.port, MASTER_KEY)
    assert party.admin("POST", f"keys/{bad['id']}/revoke").status == 200
    until(lambda: party.said(good["key"]) + party.said(bad["key"]) == ["ok"] * 2 + ["INVALID_API_KEY"] * 2,
          "both routers to know the keys", LOOK_SECONDS)
    party.ledger.child.send_signal(signal.SIGKILL)
    party.ledger.child.wait()
    assert party.said(good["key"]) == ["ok", "ok"]
    assert party.said(bad["key"]) == ["INVALID_API_KEY"] * 2
    unknown = "dyn_" + "0" * 16 + "_" + "0" * 64
    until(lambda: party.said(good["key"]) == ["KEYS_UNAVAILABLE"] * 2, "keys to be too old", STALE_SECONDS + 20)
    assert party.said(bad["key"]) + party.said(unknown) == ["KEYS_UNAVAILABLE"] * 4
    assert party.said(MASTER_KEY) == ["ok", "ok"]
    answer = chat(party.edge.port, good["key"])
    assert refusal(answer) == (503, "keys_unavailable") and answer.header("retry-after") == "1"
    assert party.admin("POST", "keys", {"name": "x"}).status == 503
    assert request_once(party.edge.port, "GET", "/readyz").json()["keys"] == {"status": "stale"}
    party.second_router.child.send_signal(signal.SIGKILL)
    party.second_router.child.wait()
    party.fleet.router(1)
    until(lambda: party.ask(party.clients[1], MASTER_KEY) == "ok", "the router to be back", 20)
    assert party.said(good["key"]) == ["KEYS_UNAVAILABLE"] * 2  # it never knew any
    party.start_ledger()
    until(lambda: party.said(good["key"]) == ["ok", "ok"], "keys to be known again", 20)
    assert "keys" not in request_once(party.edge.port, "GET", "/readyz").json()
    assert party.said(bad["key"]) + party.said(unknown) == ["INVALID_API_KEY"] * 4
    assert party.admin("POST", f"keys/{good['id']}/revoke").status == 200
    until(lambda: party.said(good["key"]) == ["INVALID_API_KEY"] * 2, "both routers to refuse the key", LOOK_SECONDS)


def test_a_router_that_starts_waits_for_its_keys(party):
    """Requests that come before it has heard which keys there are are not refused for that."""
    made = create(party.edge.port, MASTER_KEY)
    until(lambda: party.said(made["key"]) == ["ok", "ok"], "both routers to know the key", LOOK_SECONDS)
    for _ in range(2):
        party.second_router.child.send_signal(signal.SIGKILL)
        party.second_router.child.wait()
        party.second_router = party.fleet.router(1)
        assert party.ask(party.clients[1], made["key"]) == "ok"
