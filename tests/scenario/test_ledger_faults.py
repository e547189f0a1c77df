"""A store that takes nothing fails no request: stopped, full, or locked under 64 connections, what was taken is there
afterwards, and what was lost is counted. What it costs meanwhile is measured by `./dev bench ledger`."""

import json
import threading
import time

import pytest

from harness.fleet import MASTER_KEY, Fleet
from harness.gateway import target
from harness.http import Connection, request_once
from harness.process import Process
from harness.store_faults import Frozen, Full, Limited, Locked, ask, mounts_work, on_small_disk

CONNECTIONS = 64
WAIT_SECONDS = 60  # against hanging
AUTH = {"Authorization": f"Bearer {MASTER_KEY}"}
CHAT = json.dumps({"model": "mock-tokens-2", "messages": [{"role": "user", "content": "x"}]}).encode()
LOGGER = [{"name": "request-logger", "type": "logging", "stage": stage, "enabled": True, "config": {"persist": True}}
          for stage in ("before_request", "after_request", "on_error")]


class Load:
    """64 connections that ask one request after the other."""

    def __init__(self, port):
        self.port, self.answered, self.failures = port, 0, []
        self.lock = threading.Lock()

    def run(self, seconds):
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=self._ask, args=(until,)) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self.failures == []

    def _ask(self, until):
        answered = 0
        try:
            with Connection(self.port, timeout=WAIT_SECONDS) as connection:
                while time.monotonic() < until:
                    answer = connection.request("POST", "/v1/chat/completions", CHAT, AUTH)
                    assert answer.status == 200, answer.body
                    answered += 1
        except Exception as problem:  # a thread's would be lost
            self.failures.append(repr(problem))
        with self.lock:
            self.answered += answered


def ledger_of(gateway):
    return request_once(gateway.port, "GET", "/readyz").json()["ledger"]


def until(what, wanted):
    deadline = time.monotonic() + WAIT_SECONDS
    while not wanted(now := what()):
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


def config_of(folder, **store):
    return {"store": {"backend": "sqlite", "dsn": str(folder / "kept.db"), **store}, "plugins": LOGGER}


def count(path, query="SELECT count(*) FROM request_log"):
    return ask(path, query)


def to_the_end(gateway, fault, path):
    """Before, during and after a fault: no request fails, and each row is there."""
    load = Load(gateway.port)
    load.run(0.5)
    fault.begin()
    load.run(2)
    until(lambda: ledger_of(gateway), lambda ledger: ledger["status"] in ("behind", "unreachable"))
    load.run(0.5)
    assert ledger_of(gateway)["pending_rows"] > 0
    fault.end()
    until(lambda: ledger_of(gateway), lambda ledger: ledger["status"] == "ok" and ledger["pending_rows"] == 0)
    assert ledger_of(gateway)["dropped_rows"] == 0
    assert load.answered > CONNECTIONS and count(path) == 2 * load.answered
    assert count(path, "SELECT count(DISTINCT request_id) FROM request_log") == load.answered


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def start(start_gateway, mock, folder, store=None, **options):
    targets = [target(mock.url, models=["mock-tokens-2"])]
    return start_gateway(targets, environment={"MASTER_KEY": MASTER_KEY}, config=config_of(folder, **(store or {})), **options)


def test_locked(start_gateway, mock, disk):
    gateway = start(start_gateway, mock, disk)
    to_the_end(gateway, Locked(disk / "kept.db"), disk / "kept.db")


def test_no_room(start_gateway, mock, disk):
    """A file system of its own that is full; where nothing can be mounted, files that may not grow."""
    if mounts_work():
        gateway = start(start_gateway, mock, disk, prefix=on_small_disk(disk))
        to_the_end(gateway, Full(gateway.pid, disk), f"/proc/{gateway.pid}/root{disk}/kept.db")
    else:
        print("nothing can be mounted here: the size of files is limited instead")
        test_files_that_may_not_grow(start_gateway, mock, disk)


def test_files_that_may_not_grow(start_gateway, mock, disk):
    gateway = start(start_gateway, mock, disk)
    to_the_end(gateway, Limited(gateway.pid), disk / "kept.db")


def test_frozen(tmp_path, mock, disk):
    fleet = Fleet(tmp_path, mock.url, routers=1, curve=True, **config_of(disk))
    written = json.loads(fleet.config.read_text())
    written["targets"] = [target(mock.url, models=["mock-tokens-2"])]
    fleet.config.write_text(json.dumps(written))
    try:
        edge = fleet.start()
        ledger = fleet.add(Process(fleet.words("ledger"), fleet.log_path("ledger"),
                                   environment=fleet.variables("ledger")))
        until(lambda: ledger_of(edge), lambda ledger: ledger["status"] == "ok" and (disk / "kept.db").exists())
        to_the_end(edge, Frozen(ledger.pid), disk / "kept.db")
        fleet.stop()
    finally:
        fleet.close()


def test_what_does_not_fit_is_lost_oldest_first_and_counted(start_gateway, mock, disk):
    gateway = start(start_gateway, mock, disk, store={"buffer": "1MiB"})
    load = Load(gateway.port)
    load.run(0.2)
    until(lambda: ledger_of(gateway), lambda ledger: ledger["pending_rows"] == 0)
    fault = Locked(disk / "kept.db")
    fault.begin()
    before = load.answered
    until(lambda: load.run(0.5) or ledger_of(gateway), lambda ledger: ledger["dropped_rows"] > 500)
    waiting = until(lambda: ledger_of(gateway), lambda ledger: ledger["status"] == "losing")
    assert waiting["pending_bytes"] <= 1024 * 1024
    last = request_once(gateway.port, "POST", "/v1/chat/completions", CHAT, AUTH).header("x-request-id")
    fault.end()
    done = until(lambda: ledger_of(gateway), lambda ledger: ledger["pending_rows"] == 0)
    path = disk / "kept.db"
    assert count(path) == 2 * (load.answered + 1) - done["dropped_rows"]
    assert count(path, f"SELECT count(*) FROM request_log WHERE trace_id='{last}'") == 2
    assert load.answered > before


def test_budgets_run_on_their_open_blocks_then_fail_as_configured(start_gateway, mock, disk):
    """What needs no decision about money never waits; the rest does not wait either, it fails."""
    budget = {"name": "budget", "type": "ratelimit", "enabled": True, "config": {"spend_limit_usd": 1, "block_usd": 0.0005}}
    config = {"store": {"backend": "sqlite", "dsn": str(disk / "kept.db")},
              "plugins": [{**budget, "stage": stage} for stage in ("before_request", "after_request", "on_error")]}
    gateway = start_gateway([target(mock.url, models=["gpt-4o-mini", "unpriced-model"])],
                            environment={"MASTER_KEY": MASTER_KEY}, config=config)

    def ask_for(model):
        body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "x"}]}
        return request_once(gateway.port, "POST", "/v1/chat/completions", json.dumps(body).encode(), AUTH)

    def statuses_until_refused():
        statuses = []
        while not statuses or (statuses[-1] == 200 and len(statuses) < 1000):
            statuses.append(ask_for("gpt-4o-mini").status)
        return statuses

    until(lambda: ask_for("gpt-4o-mini").status, lambda status: status == 200)
    fault = Locked(disk / "kept.db")
    fault.begin()
    statuses = statuses_until_refused()
    assert statuses.count(200) >= 3 and statuses[-1] == 500, statuses
    assert ask_for("gpt-4o-mini").error["code"] == "plugin_error"
    for _ in range(20):
        assert ask_for("unpriced-model").status == 200
    assert request_once(gateway.port, "GET", "/v1/models", None, AUTH).status == 200
    fault.end()
    until(lambda: ask_for("gpt-4o-mini").status, lambda status: status == 200)
