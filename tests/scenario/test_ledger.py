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
from harness.gateway import run_to_end, target
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


def figures(port, auth):
    """{name{labels}: value} of the ledger's figures."""
    page = request_once(port, "GET", "/metrics", headers=auth)
    assert page.status == 200, page.body
    lines = [line for line in page.body.decode().splitlines() if line.startswith("gateway_ledger_")]
    return {line.split(" ")[0].removeprefix("gateway_ledger_"): float(line.split(" ")[1]) for line in lines}


def test_the_metrics_tell_what_waits_and_what_was_written(start_gateway, upstream, store):
    gateway = start(start_gateway, upstream, store)
    assert chat(gateway).status == 200
    now = until(lambda: figures(gateway.port, AUTH), lambda now: now['rows_total{step="written"}'] == 2)
    assert now['rows_total{step="taken"}'] == 2 and now['rows_total{step="dropped"}'] == 0
    assert now["store_batches_total"] >= 1 and now["store_batch_seconds_total"] > 0
    assert now["store_failures_total"] == 0 and now['trouble{kind="failing"}'] == 0
    other = sqlite3.connect(store, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert chat(gateway).status == 200
    now = until(lambda: figures(gateway.port, AUTH),
                lambda now: now['trouble{kind="failing"}'] == 1 and now['trouble{kind="behind"}'] == 1)
    assert now["rows_waiting"] == 2 and now['pending_bytes{where="store"}'] > 0 < now["store_failures_total"]
    other.execute("ROLLBACK")
    now = until(lambda: figures(gateway.port, AUTH), lambda now: now['rows_total{step="written"}'] == 4)
    assert until(lambda: figures(gateway.port, AUTH), lambda now: now["rows_waiting"] == 0)["pending_bytes{where=\"journal\"}"] == 0
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
    head, answer = ask(client, op="stats")
    assert [row["count"] for row in answer["rows"] if row["dimension"] == "total"] == [4]
    head, answer = ask(client, op="status")
    assert answer["written"] >= 7 and "trouble" not in answer
    for question in ({"op": "keys"}, {"op": "put", "rows": []}, {"op": "rows"}, {"op": "purge", "before": 1}, {"op": "nothing"}):
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
        counter = fleet.edge(roles="metrics").wait_ready()
        told = until(lambda: figures(counter.port, auth), lambda told: told.get('rows_total{step="written"}') == 2)
        assert told['rows_total{step="taken"}'] == 2  # one page for the router's figures and the ledger's
        ledger.child.send_signal(signal.SIGSTOP)
        for _ in range(40):
            assert chat(edge, headers=auth).status == 200
        until(lambda: ledger_of(edge),
              lambda ledger: ledger["status"] in ("behind", "unreachable") and ledger["pending_rows"] == 80)
        ledger.child.send_signal(signal.SIGCONT)
        until(lambda: rows(store), lambda rows: len(rows) == 82)
        until(lambda: ledger_of(edge), lambda ledger: ledger["status"] == "ok" and ledger["dropped_rows"] == 0)
        fleet.stop()
        assert len(rows(store)) == 82
    finally:
        fleet.close()


def admin(gateway, method, path, key=KEY):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return request_once(gateway.port, method, "/admin/" + path, None, headers)


def seconds_from_now(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def fill(start_gateway, upstream, store, **config):
    """Three good requests and a bad one, seen in the store."""
    gateway = start(start_gateway, upstream, store, **config)
    traces = [chat(gateway).header("x-request-id") for _ in range(3)]
    assert chat(gateway, {**GOOD, "model": "nobody"}).status == 404
    until(lambda: rows(store), lambda rows: len(rows) >= 7)
    return gateway, traces


def test_operators_read_the_log_page_by_page(start_gateway, upstream, store):
    gateway, traces = fill(start_gateway, upstream, store)
    answer = admin(gateway, "GET", "logs").json()
    assert answer["summary"] == {"total_entries": 4, "returned_entries": 4}
    assert answer["filters"] == {"limit": 50, "offset": 0}
    newest, *others = answer["data"]
    assert (newest["stage"], newest["error_code"], newest["model"]) == ("on_error", "model_not_found", "nobody")
    assert [row["trace_id"] for row in others] == traces[::-1]
    assert others[0]["stream"] is False and others[0]["created_at"].endswith("Z") and others[0]["cost_usd"] is None
    assert "request_body" not in newest
    page = admin(gateway, "GET", "logs?stage=after_request&limit=2&offset=2").json()
    assert page["summary"] == {"total_entries": 3, "returned_entries": 1}
    assert admin(gateway, "GET", "logs?stage=all").json()["summary"]["total_entries"] == len(rows(store))
    assert admin(gateway, "GET", "logs?trace_id=" + traces[1]).json()["data"][0]["trace_id"] == traces[1]
    assert admin(gateway, "GET", "logs?api_key_id=none").json()["data"] == []
    assert admin(gateway, "GET", "logs?since=" + seconds_from_now(60)).json()["data"] == []
    assert admin(gateway, "GET", "logs?model=test%2Dmodel&api_key_id=master").json()["summary"]["total_entries"] == 3


@pytest.mark.parametrize("path, param", [
    ("logs?limit=0", "limit"), ("logs?limit=201", "limit"), ("logs?limit=x", "limit"), ("logs?offset=-1", "offset"),
    ("logs?since=yesterday", "since"), ("logs?stage=later", "stage"), ("logs?modle=x", None), ("logs?model=%zz", "model"),
    ("logs/stats?buckets=121", "buckets"), ("audit?outcome=maybe", "outcome"), ("audit?bodies=true", None),
])  # fmt: skip
def test_a_wrong_question_is_told_what_is_wrong(start_gateway, upstream, store, path, param):
    gateway = start(start_gateway, upstream, store)
    answer = admin(gateway, "GET", path)
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)


def test_who_may_read_and_delete_the_log(start_gateway, upstream, store, tmp_path):
    gateway, _ = fill(start_gateway, upstream, store, keys={"file": str(tmp_path / "keys.jsonl")})
    body = json.dumps({"name": "looker", "scopes": ["read_only"]}).encode()
    looker = request_once(gateway.port, "POST", "/admin/keys", body, AUTH).json()["key"]
    body = json.dumps({"name": "caller", "scopes": ["inference"]}).encode()
    caller = request_once(gateway.port, "POST", "/admin/keys", body, AUTH).json()["key"]
    before = seconds_from_now(60)
    for path in ("logs", "logs/stats", "audit"):
        assert admin(gateway, "GET", path, looker).status == 200
        assert admin(gateway, "GET", path, caller).status == 403
        assert admin(gateway, "GET", path, None).status == 401
        assert admin(gateway, "POST", path).status == 405
    assert admin(gateway, "GET", "logs?bodies=true", looker).status == 403
    assert admin(gateway, "DELETE", "logs?before=" + before, looker).status == 403
    assert admin(gateway, "GET", "logs/other").status == 404
    assert len(rows(store)) >= 7


def test_who_may_not_delete_is_told_in_the_audit_log(start_gateway, upstream, store):
    gateway, _ = fill(start_gateway, upstream, store)
    body = json.dumps({"name": "looker", "scopes": ["read_only"]}).encode()
    made = request_once(gateway.port, "POST", "/admin/keys", body, AUTH).json()
    path = "logs?before=" + seconds_from_now(60)
    assert admin(gateway, "DELETE", path, made["key"]).status == 403
    assert admin(gateway, "DELETE", path, "wrong").status == 401
    audit = until(lambda: admin(gateway, "GET", "audit?action=logs.purge").json(),
                  lambda audit: audit["summary"]["total_entries"] == 2)
    assert {(row["actor_id"], row["outcome"], json.loads(row["detail"])["error"]) for row in audit["data"]} == {
        (made["id"], "denied", "insufficient_scope"), ("-", "denied", "invalid_api_key")}


def test_what_is_deleted_is_told_in_the_audit_log(start_gateway, upstream, store):
    gateway, _ = fill(start_gateway, upstream, store)
    assert admin(gateway, "DELETE", "logs").status == 400
    before = seconds_from_now(60)
    answer = admin(gateway, "DELETE", f"logs?before={before}&model=nobody&stage=on_error").json()
    assert answer["deleted"] == 1 and answer["filters"]["model"] == "nobody"
    assert admin(gateway, "GET", "logs").json()["summary"]["total_entries"] == 3
    audit = until(lambda: admin(gateway, "GET", "audit").json(), lambda audit: audit["summary"]["total_entries"] == 2)
    done, refused = audit["data"]
    assert (done["action"], done["actor_id"], done["outcome"]) == ("logs.purge", "master", "ok")
    assert json.loads(done["detail"]) == {"deleted": 1, "filters": answer["filters"]}
    assert done["source_ip"] == "127.0.0.1" and refused["outcome"] == "denied"
    assert admin(gateway, "GET", "audit?outcome=ok&action=logs.purge&actor_id=master").json()["data"] == [done]


def test_sums_of_the_log(start_gateway, upstream, store):
    gateway, _ = fill(start_gateway, upstream, store)
    stats = admin(gateway, "GET", "logs/stats?buckets=4").json()
    assert (stats["summary"]["total_entries"], stats["summary"]["error_entries"]) == (4, 1)
    by_stage = {row["name"]: row["count"] for row in stats["by_stage"]}
    assert (by_stage["after_request"], by_stage["on_error"]) == (3, 1) and by_stage["before_request"] >= 3
    assert {row["name"]: row["count"] for row in stats["by_model"]} == {"test-model": 3, "nobody": 1}
    assert [(error["code"], error["count"]) for error in stats["top_errors"]] == [("model_not_found", 1)]
    assert stats["latency_ms"]["count"] == 4 and stats["latency_ms"]["p50"] <= stats["latency_ms"]["max"]
    points = stats["series"]["points"]
    assert len(points) == 4 and sum(point["requests"] for point in points) == 4 and not stats["series"]["truncated"]
    assert admin(gateway, "GET", "logs/stats?buckets=0").json()["series"]["points"] == []


def test_bodies_are_shown_where_they_are_asked_for(start_gateway, upstream, store):
    plugins = [{**plugin, "config": {"persist": True, "bodies": True}} for plugin in LOGGER]
    gateway = start(start_gateway, upstream, store, plugins=plugins)
    assert chat(gateway).status == 200
    until(lambda: rows(store), lambda rows: len(rows) == 2)
    assert "request_body" not in admin(gateway, "GET", "logs?stage=all").json()["data"][1]
    row = admin(gateway, "GET", "logs?stage=before_request&bodies=true").json()["data"][0]
    assert json.loads(row["request_body"]) == GOOD and row["response_body"] is None


def test_without_a_store_operators_are_told_so(start_gateway, upstream):
    gateway = start_gateway([target(upstream.url)], environment={"MASTER_KEY": KEY})
    for method, path in (("GET", "logs"), ("GET", "logs/stats"), ("DELETE", "logs?before=x"), ("GET", "audit")):
        answer = admin(gateway, method, path)
        assert (answer.status, answer.json()["error"]["code"]) == (501, "not_implemented")
        assert "store: {backend: sqlite" in answer.json()["error"]["message"]


def test_what_a_provider_says_of_a_key_is_not_kept(start_gateway, upstream, store):
    """Providers repeat the key that they refuse; neither the row nor the log has it."""
    gateway = start(start_gateway, upstream, store)
    secret = "sk-proj-AbCdEfGhIjKlMnOpQrStUvWx"
    error = {"error": {"message": f"Incorrect API key provided: {secret}.", "type": "x", "code": None}}
    upstream.reset_to(lambda request, exchange: exchange.json(error, status=400))
    assert chat(gateway).status == 400
    row = until(lambda: rows(store, "SELECT * FROM request_log WHERE stage='on_error'"), lambda rows: rows)[0]
    assert "[REDACTED]" in row["error_message"] and "AbCdEfGh" not in row["error_message"]
    assert "AbCdEfGh" not in "".join(line for line in gateway.log().splitlines() if "\"event\":\"request\"" in line)


def test_the_command_shows_what_operators_ask(start_gateway, upstream, store, tmp_path):
    gateway, traces = fill(start_gateway, upstream, store)
    environment = {"DYNABUS_URL": gateway.url, "DYNABUS_API_KEY": KEY}

    def command(*words):
        return run_to_end(["admin", *words], tmp_path, environment=environment)

    code, text = command("logs")
    assert code == 0 and "4 of 4" in text and traces[0] in text and "model_not_found" in text
    code, text = command("logs", "list", "--since", "1h", "--model", "test-model", "--limit", "2", "--format", "json")
    assert code == 0 and json.loads(text)["summary"] == {"total_entries": 3, "returned_entries": 2}
    code, text = command("logs", "stats")
    assert code == 0 and "error_entries       1" in text and "model_not_found" in text
    code, text = command("logs", "purge")
    assert code == 1 and "'before'" in text
    code, text = command("logs", "purge", "--before", seconds_from_now(60))
    assert code == 0 and text.endswith(" deleted\n") and int(text.split()[0]) >= 7
    assert rows(store) == []
    until(lambda: rows(store, "SELECT * FROM audit"), lambda audit: len(audit) == 2)
    code, text = command("audit", "--outcome", "ok")
    assert code == 0 and "logs.purge" in text and "1 of 1" in text
    assert command("logs", "burn")[0] == 2
    assert command("audit", "--stage", "all")[0] == 1


def test_old_rows_go_by_themselves(start_gateway, upstream, store):
    gateway, _ = fill(start_gateway, upstream, store)
    gateway.stop()
    with sqlite3.connect(store) as db:
        db.execute("UPDATE request_log SET created_us=created_us-7200000000 WHERE stage<>'on_error'")
    kept = {"backend": "sqlite", "dsn": str(store), "keep_logs": "1h"}
    start_gateway([target(upstream.url)], environment={"MASTER_KEY": KEY}, config={**config_of(store), "store": kept})
    assert [row["stage"] for row in until(lambda: rows(store), lambda rows: len(rows) == 1)] == ["on_error"]
