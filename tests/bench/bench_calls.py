#!/usr/bin/env python3
"""Counts what a request costs where times do not matter: system calls and heap allocations, by who makes them.

    bench_calls.py [--connections 64] [--seconds 2] [--all] [--json FILE]

The gateway (one cell) and nginx stand between the load client and the mock as in bench.py; --all adds the gateway
with everything on. System calls are counted by the kernel's tracepoints (perf stat), which does not slow the
process; where perf may not, by strace, which does, so that more requests are ready at each turn of the loop.
Allocations are counted by a preloaded library (count_alloc.c) in a second run, by the module that calls malloc.
What a process does in the same time without a request is taken off.

The result of --json is a list of {"name", "value", "unit"}.
"""

import argparse
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time

import bench
from bench_proc import Reader, tree

HERE = bench.HERE
ROW = struct.Struct("48sQQ")  # struct row of count_alloc.c
PROBE = b'{"model":"mock","messages":[{"role":"user","content":"ping"}]}'


def run_load(options, load, server, seconds):
    """Answers that came; the warm-up's are counted too, as what they cost is."""
    row = bench.Row("calls", False, options.connections, seconds)
    finished = subprocess.run(
        row.command(load, server), stdout=subprocess.PIPE, text=True, timeout=seconds + 30, check=True
    )
    result = json.loads(finished.stdout)
    if result["errors"] or not result["answers"]:
        raise SystemExit(f"bench: {result['errors']} of {result['answers']} answers failed through {server.name}")
    return result["answers"]


class Counter:
    """A program beside the process that writes down what it counted when it is interrupted."""

    def __init__(self, command, path, settle_s):
        self.path = path
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(settle_s)

    def lines(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        with open(self.path, encoding="ascii") as file:
            return file.readlines()


class Perf(Counter):
    """System calls by name, counted by the kernel. All of them together, and those that a proxy makes by name:
    closing the counters of all 350 takes the kernel seconds a thread."""

    NAMES = (
        "accept4 clock_nanosleep close connect epoll_ctl epoll_pwait epoll_wait fcntl fdatasync futex getpeername "
        "getrandom getsockname getsockopt gettid ioctl mmap munmap poll pread64 pwrite64 read recvfrom recvmsg sendmsg "
        "sendto setsockopt socket timerfd_settime write writev"
    ).split()
    EVENTS = ",".join(["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in NAMES)])

    def __init__(self, pid, path):
        super().__init__(["perf", "stat", "-x,", "-e", self.EVENTS, "-p", str(pid), "-o", path], path, 0.5)

    def stop(self):
        calls = {}
        for line in self.lines():
            words = line.split(",")
            if len(words) > 2:  # what never ran is "<not counted>"
                name = words[2].rpartition("sys_enter")[2].lstrip("_")
                calls[name] = int(words[0]) if words[0].isdigit() else 0
        calls["others"] = calls.pop("") - sum(calls.values())
        return calls

    @staticmethod
    def works():
        """Tracepoints want a privilege."""
        try:
            command = ["perf", "stat", "-x,", "-e", Perf.EVENTS, "true"]
            return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return False


class Strace(Counter):
    """System calls by name, each stopped and counted."""

    def __init__(self, pid, path):
        super().__init__(["strace", "-f", "-c", "-o", path, "-p", str(pid)], path, 1.0)

    def stop(self):
        calls = {}
        for line in self.lines():
            found = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
            if found and found.group(2) != "total":
                calls[found.group(2)] = int(found.group(1))
        return calls


def per_request(during, idle, answers):
    """Without what an idle process does in that time; the rest by the request, largest first."""
    costs = {name: (count - idle.get(name, 0)) / answers for name, count in during.items()}
    return dict(sorted(((n, c) for n, c in costs.items() if c >= 0.005), key=lambda pair: -pair[1]))


def count_system_calls(options, load, server, out_dir):
    tracer = Perf if Perf.works() else Strace
    path = os.path.join(out_dir, "system_calls.txt")
    pid = tree(server.pid)[-1]  # nginx works in a child
    idle = tracer(pid, path)
    time.sleep(options.seconds)
    idle_calls = idle.stop()
    during = tracer(pid, path)
    answers = run_load(options, load, server, options.seconds)
    return per_request(during.stop(), idle_calls, answers), tracer.__name__.lower()


def read_allocations(path):
    with open(path, "rb") as file:
        rows = ROW.iter_unpack(file.read())
        return {name.rstrip(b"\0").decode(): calls for name, calls, _ in rows if calls}


def difference(after, before):
    return {name: count - before.get(name, 0) for name, count in after.items()}


def count_allocations(options, load, server, path):
    run_load(options, load, server, 0.5)  # what grows once has grown
    start = read_allocations(path)
    time.sleep(options.seconds)
    idle = read_allocations(path)
    answers = run_load(options, load, server, options.seconds)
    during = read_allocations(path)
    return per_request(difference(during, idle), difference(idle, start), answers)


def build_shim(out_dir):
    source = os.path.join(HERE, "count_alloc.c")
    shim = os.path.join(out_dir, "count_alloc.so")
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-o", shim, source]
    subprocess.run(command, check=True)
    return shim


class Counts:
    """The rows of the result."""

    def __init__(self):
        self.rows = []

    def add(self, path, what, costs):
        total = sum(costs.values())
        print(f"{path:<14}{what:<14}{total:7.2f} a request:  " + "  ".join(f"{n} {c:.2f}" for n, c in costs.items()))
        for name, value in {"total": total, **costs}.items():
            row = {"name": f"{path}.{what.replace(' ', '_')}.{name}", "value": round(value, 3), "unit": "calls/request"}
            self.rows.append(row)


def counted_gateway(options, out_dir, upstream, shim, name, more):
    """A gateway whose allocations are counted, and the file with the counts."""
    path = os.path.join(out_dir, f"{name}.alloc")
    if os.path.exists(path):
        os.unlink(path)
    os.environ.update({"LD_PRELOAD": shim, "COUNT_ALLOC_FILE": path})
    try:
        return bench.start_gateway(name, options, out_dir, upstream, None, more=more), path
    finally:
        del os.environ["LD_PRELOAD"], os.environ["COUNT_ALLOC_FILE"]


def measure(options, load, out_dir, upstream, counts):
    paths = {"dynabus": False, **({"dynabus-all": True} if options.all else {})}
    shim = build_shim(out_dir)
    for name, everything in paths.items():
        for preload in (None, shim):
            more, bus = bench.everything_on(out_dir) if everything else ("", None)
            path, reader = None, None
            if preload:
                server, path = counted_gateway(options, out_dir, upstream, preload, name, more)
            else:
                server = bench.start_gateway(name, options, out_dir, upstream, None, more=more)
            try:
                server.ask(PROBE, bench.KEY)
                if bus:
                    reader = Reader([options.gateway, "tail", "--bus", bus], os.path.join(out_dir, "reader.log"))
                run_load(options, load, server, 0.5)
                if preload:
                    counts.add(name, "allocations", count_allocations(options, load, server, path))
                else:
                    calls, by = count_system_calls(options, load, server, out_dir)
                    counts.add(name, "system calls", calls)
                    counts.counted_by = by
            finally:
                if reader:
                    reader.stop()
                server.stop()


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", default=os.path.join(bench.ROOT, "build/release/dynabus"))
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--all", action="store_true", help="the gateway with everything on, too")
    parser.add_argument("--json", help="a file for the rows")
    options = parser.parse_args()
    options.gateway_command = options.mock_command = None
    return options


def main():
    options = parse_options()
    out_dir = os.path.join(bench.ROOT, "build/bench")
    os.makedirs(out_dir, exist_ok=True)
    load = bench.build_load(out_dir)
    counts = Counts()
    servers = []
    try:
        servers.append(bench.start_mock(options, out_dir, None))
        servers.append(bench.start_nginx("nginx-calls", out_dir, servers[0].port, "on", None))
        run_load(options, load, servers[1], 0.3)
        counts.add("nginx", "system calls", count_system_calls(options, load, servers[1], out_dir)[0])
        measure(options, load, out_dir, servers[0].port, counts)
    finally:
        for server in reversed(servers):
            server.stop()
    print(f"system calls counted by {counts.counted_by}, {options.connections} connections")
    if options.json:
        with open(options.json, "w", encoding="ascii") as file:
            json.dump(counts.rows, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
