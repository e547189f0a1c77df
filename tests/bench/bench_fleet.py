#!/usr/bin/env python3
"""What it costs to spread the gateway over processes: edge, router and provider on tcp with CURVE, beside the same
gateway in one process, in one run.

    bench_fleet.py [--rounds N]

Rows: latency with one connection; requests a second and CPU of each role with 64; what 9,000 idle connections to the
edge cost; and what a subscriber of the events that never reads does to requests. One cell each, everything on loopback,
placed by the kernel. Times are printed, not judged; exits 1 when an answer failed.
"""

import argparse
import ctypes
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time

from bench_paths import ROOT, build_load
from bench_proc import Server, cpu_us, free_port, rss_kib
from bench_rows import KEY, Row

IDLE_CONNECTIONS = 9000
ROUNDS = 3
SECONDS = 2

ONE, FLEET = "one process", "edge, router, provider"


def free_base():
    """Three ports in a row, for the clients, workers and events of a router."""
    while True:
        base = 15000 + int.from_bytes(os.urandom(2), "big") % 15000
        probes = [socket.socket() for _ in range(3)]
        try:
            for offset, probe in enumerate(probes):
                probe.bind(("127.0.0.1", base + offset))
            return base
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()


def make_keys(gateway, folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "allowed"))
    for role in ("router", "edge", "worker"):
        subprocess.run([gateway, "keys", "new", "--role", role, os.path.join(folder, role)], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        if role != "router":
            shutil.copy(os.path.join(folder, role), os.path.join(folder, "allowed", role))


class Paths:
    """The processes: the mock, the gateway in one process, and in three."""

    def __init__(self, gateway, out_dir):
        self.gateway, self.out_dir = gateway, out_dir
        self.servers = {}

    def start(self):
        port = free_port()
        self.add("mock", port, "mock", "--listen", f"127.0.0.1:{port}")
        upstream = port
        keys = os.path.join(self.out_dir, "keys")
        make_keys(self.gateway, keys)
        base = f"tcp://127.0.0.1:{free_base()}"
        target = {"name": "mock", "provider": "openai", "base_url": f"http://127.0.0.1:{upstream}/v1", "api_key": "sk"}
        curve = {"cert": "${BENCH_CERT}", "allowed": f"{keys}/allowed", "servers": [f"{keys}/router"]}
        fleet = self.config("fleet", {"targets": [target], "bus": {"routers": [base], "curve": curve}})
        self.events = free_base()
        one = self.config("one", {"targets": [target], "bus": {"listen": f"tcp://127.0.0.1:{self.events}"}})
        self.serve("one", one, None)
        self.serve("router", fleet, f"{keys}/router", "--roles", "router", "--bus", base)
        self.serve("provider", fleet, f"{keys}/worker", "--roles", "provider")
        self.serve("edge", fleet, f"{keys}/edge", "--roles", "edge")
        self.wait_for_answers()

    def config(self, name, values):
        path = os.path.join(self.out_dir, f"{name}.yaml")
        with open(path, "w", encoding="ascii") as file:
            json.dump(values, file)
        return path

    def add(self, name, port, *words, env=None):
        log = os.path.join(self.out_dir, f"{name}.log")
        self.servers[name] = Server(name, [self.gateway, *words], port, log, env=env)

    def serve(self, name, config, cert, *words):
        port = free_port()
        env = {"MASTER_KEY": KEY, "LOG_LEVEL": "warn", "LOG_FORMAT": "json", "BENCH_CERT": cert or ""}
        listen = ["--listen", f"127.0.0.1:{port}", "--cells", "1"]
        self.add(name, port, "serve", "--config", config, *listen, *words, env=env)

    def wait_for_answers(self):
        probe = b'{"model":"mock","messages":[{"role":"user","content":"ping"}]}'
        for name in ("mock", "one", "edge"):
            deadline = time.monotonic() + 10
            while True:
                try:
                    self.servers[name].ask(probe, KEY)
                    break
                except OSError as problem:
                    if time.monotonic() > deadline:
                        raise SystemExit(f"bench: no answer from {name}: {problem}") from None
                    time.sleep(0.05)

    def stop(self):
        for server in reversed(list(self.servers.values())):
            server.stop()


# ---- measuring ----


def load_run(load, row, server):
    done = subprocess.run(row.command(load, server), stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench: the load client failed on {row.name} through {server.name}")
    return json.loads(done.stdout)


def measured(load, row, paths, server, roles):
    """The client's result, with CPU per answer of each role."""
    before = {role: cpu_us(paths.servers[role].pid) for role in roles}
    result = load_run(load, row, paths.servers[server])
    answers = max(result["answers"], 1)
    result["cpu"] = {role: (cpu_us(paths.servers[role].pid) - before[role]) / answers for role in roles}
    return result


WAYS = {"direct": ("mock", ["mock"]), ONE: ("one", ["one"]), FLEET: ("edge", ["edge", "router", "provider"])}


def rounds_of(load, row, paths, rounds):
    results = {way: [] for way in WAYS}
    for number in range(rounds):
        ways = list(WAYS.items())
        for way, (server, roles) in ways if number % 2 == 0 else reversed(ways):
            results[way].append(measured(load, row, paths, server, roles))
    return results


def median(runs, *path):
    def value(run):
        for part in path:
            run = run[part]
        return run

    return statistics.median(value(run) for run in runs)


def failed(results):
    return sum(run["errors"] for runs in results.values() for run in runs)


def added_by_processes(load, gateway, out_dir, rounds):
    """One connection: the runs of the direct path, of one process and of three, for who shows them beside others."""
    os.makedirs(out_dir, exist_ok=True)
    paths = Paths(gateway, out_dir)
    try:
        paths.start()
        results = rounds_of(load, Row("fleet-1", False, 1, 1.0), paths, rounds)
    finally:
        paths.stop()
    return {"direct": results["direct"], "one": results[ONE], "dynabus": results[FLEET]}


# ---- rows ----


def show(title, figure, note=""):
    print(f"  {title:<58}{figure:>16}   {note}".rstrip())


def one_connection(load, paths, rounds):
    results = rounds_of(load, Row("requests-1", False, 1, SECONDS), paths, rounds)
    direct, one, fleet = (median(results[way], "latency", "p50_us") for way in WAYS)
    print("\none connection, 1 KB chat")
    show("added p50, one process", f"{one - direct:.0f} us")
    show("added p50, edge - router - provider on tcp+CURVE", f"{fleet - direct:.0f} us")
    over = fleet - one
    state = "meets the aim" if over <= 200 else "holds" if over <= 400 else "MISSED"
    show("  over one process", f"{over:.0f} us", f"<= 400 us, aim 200 us: {state}")
    return failed(results)


def many_connections(load, paths, rounds):
    results = rounds_of(load, Row("requests-64", False, 64, SECONDS), paths, rounds)
    print("\n64 connections, 1 KB chat")
    for way, (_, roles) in list(WAYS.items())[1:]:
        show(f"requests/s, {way}", f"{median(results[way], 'answers_per_s'):,.0f}/s")
        total = 0.0
        for role in roles:
            cpu = median(results[way], "cpu", role)
            total += cpu
            show("  CPU per request, " + ("the process" if role == "one" else role), f"{cpu:.1f} us")
        if len(roles) > 1:
            show("  CPU per request, all three", f"{total:.1f} us")
    return failed(results)


def idle_connections(load, paths):
    edge = paths.servers["edge"]
    row = Row("requests-1", False, 1, SECONDS)
    before, before_kib = load_run(load, row, edge), rss_kib(edge.pid)
    kept = []
    try:
        for _ in range(IDLE_CONNECTIONS):
            kept.append(socket.create_connection(("127.0.0.1", edge.port), 10))
        time.sleep(0.5)
        cpu = cpu_us(edge.pid)
        time.sleep(2)
        idle_cpu = (cpu_us(edge.pid) - cpu) / 2e6
        during, during_kib = load_run(load, row, edge), rss_kib(edge.pid)
    finally:
        for one in kept:
            one.close()
    print(f"\n{IDLE_CONNECTIONS:,} idle connections to the edge")
    show("memory of the edge per idle connection", f"{(during_kib - before_kib) / IDLE_CONNECTIONS:.2f} KiB")
    show("CPU of the edge while nothing happens", f"{idle_cpu * 100:.2f} %")
    show("p50 of a request beside them", f"{during['latency']['p50_us']:.0f} us",
         f"without: {before['latency']['p50_us']:.0f} us")  # fmt: skip
    return before["errors"] + during["errors"]


class Subscriber:
    """Hears all events, or subscribes and never reads: libzmq by way of ctypes, no code of ours."""

    SUB, SUBSCRIBE, RCVHWM, RCVBUF, LINGER, DONTWAIT = 2, 6, 24, 12, 17, 1

    def __init__(self, port):
        self.zmq = ctypes.CDLL("libzmq.so.5")
        for name in ("zmq_ctx_new", "zmq_socket"):
            getattr(self.zmq, name).restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.zmq.zmq_ctx_new())
        self.socket = ctypes.c_void_p(self.zmq.zmq_socket(self.context, self.SUB))
        for option, value in ((self.RCVHWM, 1), (self.RCVBUF, 4096), (self.LINGER, 0)):
            number = ctypes.c_int(value)
            self.zmq.zmq_setsockopt(self.socket, option, ctypes.byref(number), ctypes.sizeof(number))
        self.zmq.zmq_setsockopt(self.socket, self.SUBSCRIBE, b"", 0)
        if self.zmq.zmq_connect(self.socket, f"tcp://127.0.0.1:{port}".encode()) != 0:
            raise SystemExit("bench: cannot subscribe")
        time.sleep(0.3)

    def waiting(self):
        """How many messages lie there, read now."""
        frame = ctypes.create_string_buffer(65536)
        count = 0
        while self.zmq.zmq_recv(self.socket, frame, len(frame), self.DONTWAIT) >= 0:
            count += 1
        return count

    def close(self):
        self.zmq.zmq_close(self.socket)
        self.zmq.zmq_ctx_term(self.context)


def deaf_subscriber(load, paths, rounds):
    """The gateway in one process: it makes events faster than a fleet does on two cores."""
    row = Row("requests-64", False, 64, SECONDS)
    results = {"without": [], "with": []}
    peak_kib = 0
    for number in range(rounds):
        for way in ("without", "with") if number % 2 == 0 else ("with", "without"):
            subscriber = Subscriber(paths.events + 2) if way == "with" else None
            results[way].append(measured(load, row, paths, "one", ["one"]))
            if subscriber is not None:
                peak_kib = max(peak_kib, rss_kib(paths.servers["one"].pid))
                if subscriber.waiting() == 0:
                    raise SystemExit("bench: the subscriber was sent nothing")
                subscriber.close()
    print("\na subscriber that never reads (one process; each request makes an event)")
    for way in results:
        runs = results[way]
        show(f"requests/s and events/s {way} it", f"{median(runs, 'answers_per_s'):,.0f}/s")
        show(f"  p99 {way} it", f"{median(runs, 'latency', 'p99_us'):.0f} us")
        show(f"  CPU per request {way} it", f"{median(runs, 'cpu', 'one'):.1f} us")
    show("resident size of the gateway with it, at most", f"{peak_kib / 1024:.1f} MiB")
    return failed(results)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", default=os.path.join(ROOT, "build/release/dynabus"), help="the binary to measure")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    out_dir = os.path.join(ROOT, "build/bench/fleet")
    os.makedirs(out_dir, exist_ok=True)
    paths = Paths(options.gateway, out_dir)
    try:
        load = build_load(os.path.join(ROOT, "build/bench"))
        paths.start()
        errors = one_connection(load, paths, options.rounds)
        errors += many_connections(load, paths, options.rounds)
        errors += idle_connections(load, paths)
        errors += deaf_subscriber(load, paths, options.rounds)
    finally:
        paths.stop()
    print(f"\nmedians of {options.rounds} rounds; 'added' is beyond the direct path to the mock; {errors} requests failed")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
