#!/usr/bin/env python3
"""What requests notice of a store that takes nothing: the process of the ledger stopped, its file system full, its
database locked, each under 64 connections, beside the same load without the fault in the same run.

    bench_ledger.py [--seconds N] [--buffer SIZE]

Each fault has N seconds (30), in slices with and without it by turns; before a slice without it begins, what waited has
been written. Every request makes a row; afterwards each row that was taken has to be in the file, or counted as lost
because `store.buffer` was full. One cell, everything on loopback. Times are printed, not judged; exits 1 when a request
failed, or a row is missing without having been counted.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
import urllib.request

from bench_fleet import free_base, load_run
from bench_paths import ROOT, build_load
from bench_proc import Server, cpu_us, free_port, rss_kib
from bench_rows import KEY, Row

sys.path.insert(0, os.path.join(ROOT, "tests"))
from harness.store_faults import Frozen, Full, Limited, Locked, ask, mounts_work, on_small_disk  # noqa: E402

ROUNDS = 3
WAIT_SECONDS = 120  # until what waited is written


class Setup:
    """A mock, a gateway with a request log, and where `apart`, the ledger in a process of its own."""

    def __init__(self, gateway, folder, buffer, apart=False, prefix=()):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(os.path.join(folder, "disk"))
        self.gateway, self.folder, self.prefix = gateway, folder, list(prefix)
        self.store = os.path.join(folder, "disk", "kept.db")
        self.servers = []
        mock = free_port()
        self.add("mock", mock, [gateway, "mock", "--listen", f"127.0.0.1:{mock}"])
        base = f"tcp://127.0.0.1:{free_base()}"
        target = {"name": "mock", "provider": "openai", "base_url": f"http://127.0.0.1:{mock}/v1", "api_key": "sk"}
        logger = {"name": "request-logger", "type": "logging", "enabled": True,
                  "config": {"persist": True, "level": "debug"}}
        config = {
            "targets": [target],
            "store": {"backend": "sqlite", "dsn": self.store, "buffer": buffer},
            "plugins": [{**logger, "stage": stage} for stage in ("after_request", "on_error")],
            "bus": {"listen": base, "routers": [base]} if apart else {},
        }
        self.config = os.path.join(folder, "config.yaml")
        with open(self.config, "w", encoding="ascii") as file:
            json.dump(config, file)
        roles = ["--roles", "edge,router,provider,metrics"] if apart else []
        self.main = self.serve("gateway", self.prefix, *roles)
        self.ledger = self.serve("ledger", (), "--roles", "ledger") if apart else self.main

    def add(self, name, port, words):
        self.servers.append(Server(name, words, port, os.path.join(self.folder, f"{name}.log"),
                                   env={"MASTER_KEY": KEY, "LOG_LEVEL": "warn", "LOG_FORMAT": "json"}))  # fmt: skip
        return self.servers[-1]

    def serve(self, name, prefix, *words):
        port = free_port()
        listen = ["--listen", f"127.0.0.1:{port}", "--cells", "1"]
        return self.add(name, port, [*prefix, self.gateway, "serve", "--config", self.config, *listen, *words])

    def stop(self):
        for server in reversed(self.servers):
            server.stop()

    def get(self, path):
        url = f"http://127.0.0.1:{self.main.port}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, headers={"authorization": f"Bearer {KEY}"})) as answer:
            return answer.read().decode()

    def state(self):
        return json.loads(self.get("/readyz"))["ledger"]

    def ended(self):
        """Requests that the gateway has counted."""
        lines = self.get("/metrics").splitlines()
        return sum(int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("gateway_requests_total{"))

    def wait_written(self):
        deadline = time.monotonic() + WAIT_SECONDS
        while (state := self.state())["status"] not in ("ok", "losing") or state["pending_rows"] > 0:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: not written after {WAIT_SECONDS} s: {state}")
            time.sleep(0.1)


def slices(load, setup, fault, seconds):
    row = Row("requests-64", False, 64, seconds / (2 * ROUNDS))
    results = {False: [], True: []}
    most_bytes = 0
    for _ in range(ROUNDS):
        for has_fault in (False, True):
            if has_fault:
                fault.begin()
            before = cpu_us(setup.main.pid)
            result = load_run(load, row, setup.main)
            result["cpu"] = (cpu_us(setup.main.pid) - before) / max(result["answers"], 1)
            results[has_fault].append(result)
            if has_fault:
                most_bytes = max(most_bytes, setup.state()["pending_bytes"])
                result["rss"] = rss_kib(setup.main.pid)
                fault.end()
            setup.wait_written()
    return results, most_bytes


def median(runs, *path):
    def value(run):
        for part in path:
            run = run[part]
        return run

    return statistics.median(value(run) for run in runs)


def show(title, figure, note=""):
    print(f"  {title:<52}{figure:>14}   {note}".rstrip())


def report(name, setup, results, most_bytes, path):
    """Whether it kept its promises."""
    without, with_it = results[False], results[True]
    base, now = median(without, "latency", "p50_us"), median(with_it, "latency", "p50_us")
    spread = max(run["latency"]["p50_us"] for run in without) / min(run["latency"]["p50_us"] for run in without)
    errors = sum(run["errors"] for run in without + with_it)
    taken, dropped = setup.ended(), setup.state()["dropped_rows"]
    kept = ask(path, "SELECT count(*) FROM request_log")
    missing = taken - dropped - kept
    print(f"\n{name}")
    show("requests/s without, with", f"{median(without, 'answers_per_s'):,.0f}", f"{median(with_it, 'answers_per_s'):,.0f}")
    show("p50 without, with", f"{base:.0f} us", f"{now:.0f} us")
    show("  ratio", f"{now / base:.2f}", f"slices without it differ by {spread:.2f}")
    show("p99 without, with", f"{median(without, 'latency', 'p99_us'):.0f} us", f"{median(with_it, 'latency', 'p99_us'):.0f} us")
    show("CPU per request without, with", f"{median(without, 'cpu'):.1f} us", f"{median(with_it, 'cpu'):.1f} us")
    show("rows that waited at most", f"{most_bytes / 1024 / 1024:.1f} MiB")
    show("resident size with it", f"{max(run['rss'] for run in with_it) / 1024:.0f} MiB")
    show("requests, failed", f"{taken:,}", f"{errors}")
    show("rows kept, lost and counted, missing", f"{kept:,}", f"{dropped:,}, {missing}")
    return errors == 0 and missing == 0


def frozen(load, options, folder):
    setup = Setup(options.gateway, folder, options.buffer, apart=True)
    try:
        wait_for_answer(setup)
        results, most = slices(load, setup, Frozen(setup.ledger.pid), options.seconds)
        return report("process of the ledger stopped (SIGSTOP)", setup, results, most, setup.store)
    finally:
        setup.stop()


def full(load, options, folder):
    can_mount = mounts_work()
    disk = os.path.join(folder, "disk")
    setup = Setup(options.gateway, folder, options.buffer, prefix=on_small_disk(disk, "1g") if can_mount else ())
    try:
        wait_for_answer(setup)
        fault = Full(setup.main.pid, disk) if can_mount else Limited(setup.main.pid)
        path = f"/proc/{setup.main.pid}/root{setup.store}" if can_mount else setup.store
        results, most = slices(load, setup, fault, options.seconds)
        return report(fault.name, setup, results, most, path)
    finally:
        setup.stop()


def locked(load, options, folder):
    setup = Setup(options.gateway, folder, options.buffer)
    try:
        wait_for_answer(setup)
        results, most = slices(load, setup, Locked(setup.store), options.seconds)
        return report("database locked by another program", setup, results, most, setup.store)
    finally:
        setup.stop()


def wait_for_answer(setup):
    deadline = time.monotonic() + 10
    while True:
        try:
            setup.main.ask(b'{"model":"mock","messages":[{"role":"user","content":"ping"}]}', KEY)
            break
        except OSError as problem:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: no answer: {problem}") from None
            time.sleep(0.05)
    setup.wait_written()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", default=os.path.join(ROOT, "build/release/dynabus"), help="the binary to measure")
    parser.add_argument("--seconds", type=float, default=30, help="of each fault")
    parser.add_argument("--buffer", default="32MiB", help="store.buffer")
    options = parser.parse_args()
    folder = os.path.join(ROOT, "build/bench/ledger")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    load = build_load(os.path.join(ROOT, "build/bench"))
    good = [run(load, options, folder) for run in (frozen, full, locked)]
    print(f"\n64 connections, 1 KB chat, {options.seconds:.0f} s each; medians of {ROUNDS} slices")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
