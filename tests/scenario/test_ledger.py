"""What must survive: the store of a gateway, the request log in it, and what readiness tells of it."""

import json
import os
import signal
import sqlite3
import stat
import time

import msgpack
import pytest

from harness.bus import Client, free_base
from harness.fleet import MASTER_KEY, Fleet
from harness.gateway import target
from harness.http import request_once
from harness.process import Process

GOOD = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
KEY = "sk-master-0123456789abcdef"
AUTH = {"Authorization": f"Bearer {KEY}"}
WAIT_SECONDS = 20  # against hanging
LOGGER = [{"name": "request-logger", "type": "logging", "stage": stage, "enabled": True, "config": {"persist": True}}
          for stage in ("before_request", "after_request", "on_error")]


@pytest.fixture
def store(tmp_path):
    return tmp_path / "kept.db"


def config_of(store, **more):
    return {"store": {"backend": "sqlite", "dsn": str(store)}, "plugins": LOGGER, **more}


def rows(store, query="SELECT * FROM request_log"):
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query)]
    except sqlite3.OperationalError:
        return []  # its process is just making it


def until(what, wanted):
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if wanted(what()):
            return what()
        time.sleep(0.02)
    raise AssertionError(what())


def chat(gateway, body=GOOD, headers=AUTH):
    return request_once(gateway.port, "POST", "/v1/chat/completions", json.dumps(body).encode(), headers)


def ledger_of(gateway):
    return request_once(gateway.port, "GET", "/readyz").json()["ledger"]


def start(start_gateway, upstream, store, **config):
    return start_gateway([target(upstream.url)], environment={"MASTER_KEY": KEY}, config=config_of(store, **config))


def test_each_stage_is_a_row(start_gateway, upstream, store):
    gateway = start(start_gateway, upstream, store)
    assert chat(gateway).status == 200
    assert chat(gateway, {**GOOD, "model": "nobody"}).status == 404
    found = until(lambda: rows(store), lambda rows: len(rows) >= 3)
    after = [row for row in found if row["stage"] == "after_request"]
    assert len(after) == 1
    assert (after[0]["model"], after[0]["target"], after[0]["api_key_id"]) == ("test-model", "upstream", "master")
    assert (after[0]["status"], after[0]["stream"], after[0]["attempts"]) == (200, 0, 1)
    assert after[0]["duration_ms"] > 0 and after[0]["cost_usd"] is None
    assert after[0]["request_body"] is None
    failed = [row for row in found if row["stage"] == "on_error"]
    assert [row["error_code"] for row in failed] == ["model_not_found"]


def test_nobody_else_can_read_the_store(start_gateway, upstream, store):
    gateway = start(start_gateway, upstream, store)
    assert chat(gateway).status == 200
    until(lambda: rows(store), lambda rows: rows)
    for suffix in ("", "-wal", "-shm"):
        assert stat.S_IMODE(os.stat(str(store) + suffix).st_mode) == 0o600
    assert ledger_of(gateway) == {"status": "ok", "pending_rows": 0, "pending_bytes": 0, "dropped_rows": 0}


def test_rows_survive_a_clean_end_at_once(start_gateway, upstream, store):
    gateway = start(start_gateway, upstream, store)
    for _ in range(20):
        assert chat(gateway).status == 200
    gateway.stop()
    assert len(rows(store)) == 40


def test_bodies_only_where_asked_for_and_without_secrets(start_gateway, upstream, store):
    plugins = [{**plugin, "config": {"persist": True, "bodies": True}} for plugin in LOGGER]
    gateway = start(start_gateway, upstream, store, plugins=plugins)
    secret = "sk-proj-abcdefghijklmnopqrstuvwx0123"
    body = {**GOOD, "messages": [{"role": "user", "content": f"key {secret} of someone@example.com, thanks"}]}
    assert chat(gateway, body).status == 200
    found = until(lambda: rows(store), lambda rows: len(rows) == 2)
    kept = next(row for row in found if row["stage"] == "before_request")["request_body"]
    assert "key [REDACTED] of [REDACTED], thanks" in kept and secret not in kept
    answer = next(row for row in found if row["stage"] == "after_request")["response_body"]
    assert "hello" in answer


def test_a_locked_store_stops_nothing_and_loses_nothing(start_gateway, upstream, store):
    gateway = start(start_gateway, upstream, store)
    assert chat(gateway).status == 200
    until(lambda: rows(store), lambda rows: len(rows) == 2)
    other = sqlite3.connect(store, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(50):
        assert chat(gateway).status == 200
    until(lambda: ledger_of(gateway), lambda ledger: ledger["status"] == "behind")
    assert ledger_of(gateway)["pending_rows"] == 100
    other.execute("ROLLBACK")
    until(lambda: rows(store), lambda rows: len(rows) == 102)
    until(lambda: ledger_of(gateway), lambda ledger: ledger["status"] == "ok" and ledger["pending_rows"] == 0)
    assert ledger_of(gateway)["dropped_rows"] == 0
    other.close()


def test_another_programs_database_is_left_alone(start_gateway, upstream, store, tmp_path):
    with sqlite3.connect(store) as db:
        db.execute("CREATE TABLE api_keys (id TEXT)")
    with pytest.raises(Exception):
        start(start_gateway, upstream, store)
    assert rows(store, "SELECT name FROM sqlite_schema") == [{"name": "api_keys"}]


def ask(client, credential=KEY, **question):
    of = client.request(msgpack.packb(question), surface="ledger", cred=credential.encode(), v=[1, 3])
    head, body = client.until_end(of)[-1]
    return head, msgpack.unpackb(body) if body else None


def test_what_may_be_asked_from_outside(start_gateway, upstream, store):
    base = free_base()
    gateway = start(start_gateway, upstream, store, bus={"listen": f"tcp://127.0.0.1:{base}"})
    for _ in range(3):
        assert chat(gateway).status == 200
    assert chat(gateway, {**GOOD, "model": "nobody"}).status == 404
    until(lambda: rows(store), lambda rows: len(rows) >= 7)
    client = Client(f"tcp://127.0.0.1:{base}")
    head, answer = ask(client, op="logs")
    assert (head["outcome"], head["status"], answer["total"]) == ("ok", 200, 4)
    assert [row["stage"] for row in answer["rows"]] == ["on_error"] + 3 * ["after_request"]
    head, answer = ask(client, op="logs", stage="after_request", limit=2, offset=1)
    assert (answer["total"], len(answer["rows"])) == (3, 2)
    head, answer = ask(client, op="purge", before=int(time.time() * 1e6) + 10_000_000, stage="on_error")
    assert answer["changed"] == 1
    head, answer = ask(client, op="status")
    assert answer["written"] >= 7 and "trouble" not in answer
    for question in ({"op": "keys"}, {"op": "put", "rows": []}, {"op": "rows"}, {"op": "nothing"}):
        head, answer = ask(client, **question)
        assert (head["outcome"], head["error"]) == ("error", "INVALID_REQUEST")
    head, answer = ask(client, credential="wrong", op="logs")
    assert (head["outcome"], head["error"]) == ("error", "INVALID_API_KEY")
    client.close()


def test_a_stopped_ledger_process_stops_nobody_and_nothing_is_lost(tmp_path, upstream, store):
    """A ledger of its own, frozen: its router gives it up, keeps the rows, and hands them over when it wakes."""
    fleet = Fleet(tmp_path, upstream.url, routers=1, **config_of(store))
    try:
        edge = fleet.start()
        ledger = fleet.add(Process(fleet.words("ledger"), fleet.log_path("ledger"),
                                   environment=fleet.variables("ledger")))
        auth = {"Authorization": f"Bearer {MASTER_KEY}"}
        assert chat(edge, headers=auth).status == 200
        until(lambda: rows(store), lambda rows: len(rows) == 2)
        ledger.child.send_signal(signal.SIGSTOP)
        for _ in range(40):
            assert chat(edge, headers=auth).status == 200
        until(lambda: ledger_of(edge), lambda ledger: ledger["status"] in ("behind", "unreachable"))
        assert ledger_of(edge)["pending_rows"] == 80
        ledger.child.send_signal(signal.SIGCONT)
        until(lambda: rows(store), lambda rows: len(rows) == 82)
        until(lambda: ledger_of(edge), lambda ledger: ledger["status"] == "ok" and ledger["dropped_rows"] == 0)
        fleet.stop()
        assert len(rows(store)) == 82
    finally:
        fleet.close()
