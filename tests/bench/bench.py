#!/usr/bin/env python3
"""Measures the gateway beside nginx as a bare reverse proxy and beside the direct path, in one run.

    bench.py smoke     15 s: is every answer whole? no time is looked at
    bench.py quick     a minute: 1 and 64 connections, 100 streams
    bench.py full      under 12 minutes: every row, with everything on as well as bare, each feature alone, TLS, memory

"Everything on" is the gateway once more with what a team would run: limits on requests and tokens, two guardrails, a row
of every request in SQLite, events with somebody who reads them. Keys and metrics are on in both.

Everything is on loopback: one load client (stream_load), one mock upstream, and between them nothing, nginx (one worker,
keep-alive to the upstream, no access log, no buffering of streams), or the gateway (one cell, since nginx has one
worker). The paths take turns within a round, every other round in reverse; shown are medians over rounds with the
smallest and the largest behind them. CPU is user + system of the path's process tree, measured around the run, per
answer or token that arrived. 'added' is beyond the direct path, round by round. Where the direct path itself differs too
much between rounds, the row says so and has no figure.

The kernel places the processes, as it would in use; --pin gives the path under test the first processor to itself and
the second one to client and mock, which costs every hop a wake-up across processors.

Exits 1 when an answer failed, or a token was lost, repeated or out of order; times are printed, not judged.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import bench_bounds
import bench_fleet
import bench_machine
import bench_memory
import bench_plot
import bench_table
import bench_wrk
from bench_paths import FEATURES, GUARDS, HERE, ROOT, Paths, build_load, names_of
from bench_proc import rss_kib
from bench_rows import KEY, ROUNDS, rows_of, wide_streams
from bench_run import PROBE, faults_of, run_rounds

# Programs beside this one that measure a part of it find everything here.
from bench_paths import WORDS, everything_on, start_gateway, start_mock, start_nginx, two_free_ports_after  # noqa: F401 isort:skip
from bench_proc import Reader, Server, free_port  # noqa: F401 isort:skip
from bench_rows import Row  # noqa: F401 isort:skip
from bench_run import measure  # noqa: F401 isort:skip

SETTLE_S = 1.0
FLEET_ROUNDS = 3
COUNTER = os.path.join(HERE, "bench_calls.py")  # counts system calls and allocations


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", default="quick", choices=list(ROUNDS))
    parser.add_argument("--gateway", default=os.path.join(ROOT, "build/release/dynabus"), help="the binary to measure")
    parser.add_argument("--gateway-command", help="another gateway instead: words with {port} and {upstream}")
    parser.add_argument("--mock-command", help="another upstream instead: words with {port}")
    parser.add_argument("--rounds", type=int, help="instead of " + ", ".join(f"{n} ({kind})" for kind, n in ROUNDS.items()))
    parser.add_argument("--only", help="rows whose name holds this: requests, streams, 64, ...")
    parser.add_argument("--pin", action="store_true", help="one processor for the path under test, one for the rest")
    return parser.parse_args()


def count_calls(options, out_dir):
    """System calls and allocations per request, counted by a program of its own."""
    if not os.path.exists(COUNTER) or options.gateway_command:
        return []
    path = os.path.join(out_dir, "calls.json")
    command = [sys.executable, COUNTER, "--all", "--seconds", "1", "--gateway", options.gateway, "--json", path]
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=120)
        with open(path, encoding="ascii") as file:
            return json.load(file)
    except (OSError, subprocess.SubprocessError, ValueError) as problem:
        print(f"bench: system calls and allocations were not counted: {problem}", file=sys.stderr)
        return []


def run(options, out_dir, rows, rounds):
    """Everything that is measured."""
    load = build_load(out_dir)
    paths = Paths(options, out_dir)
    memory, more = None, {"idle": {}, "counts": []}
    try:
        paths.start(names_of(rows))
        for server in paths.servers.values():
            server.ask(PROBE, KEY)
        time.sleep(SETTLE_S)  # at rest, and able to answer
        for server in paths.servers.values():
            server.rss_at_start_kib = rss_kib(server.pid)
        memory = bench_memory.watch(paths)
        others = bench_machine.Others()
        results = run_rounds(rows, paths, load, rounds, memory)
        more["others"] = others.share()
        if options.kind == "full" and options.only is None and options.gateway_command is None:
            fleet_dir = os.path.join(out_dir, "fleet")
            results["fleet-1"] = bench_fleet.added_by_processes(load, options.gateway, fleet_dir, FLEET_ROUNDS)
            ended = time.monotonic()
            more["idle"] = bench_memory.idle_figures(paths, load)
            more["counts"] = count_calls(options, out_dir)
            bench_memory.wait_a_minute(memory, ended)
        more["memory"] = bench_memory.figures(paths, memory)
        more["pinned"] = paths.theirs is not None
    finally:
        if memory:
            memory.stop()
        paths.stop()
    for name, figures in more["idle"].items():
        more["memory"][name].update(figures)
    more["memory"]["counts"] = bench_memory.COUNTS
    return results, more, bench_memory.over_time(memory)


def report_of(options, rounds, machine, measured, seconds):
    results, more, over_time = measured
    wide = wide_streams(machine["descriptors"])
    return {
        "machine": machine,
        "settings": {"kind": options.kind, "rounds": rounds, "seconds": seconds, "pinned": more["pinned"], "only": options.only,
                     "others": more["others"], "load_before": machine["load_before"], "wide_streams": wide},
        "figures": bench_bounds.figures_of(results, wide),
        "over_none": bench_bounds.over_none(results),
        "features": bench_bounds.features_of(results),
        "memory_lines": bench_bounds.memory_of(more["memory"], results, wide),
        "counts": more["counts"],
        "faults": faults_of(results),
        "tokens": sum(run["tokens"] for paths in results.values() for runs in paths.values() for run in runs),
        "memory_over_time": over_time,
        "runs": results,
    }  # fmt: skip


def show(report):
    print("\n".join(bench_table.machine_lines(report["machine"])))
    print("\n".join(bench_table.settings_lines(report["settings"])))
    for heads, rows in bench_table.tables(report):
        if rows:
            print("\n" + bench_table.as_text(heads, rows), end="")
    print(f"\n{report['tokens']:,} tokens arrived", end="")
    print(" whole, in order, none lost or repeated" if not report["faults"] else ", and this went wrong:")
    for where, counts in report["faults"].items():
        print(f"BROKEN  {where}: " + ", ".join(f"{fault} {count}" for fault, count in counts.items()))


def main():
    options = parse_options()
    out_dir = os.path.join(ROOT, "build/bench")
    os.makedirs(out_dir, exist_ok=True)
    descriptors = bench_machine.descriptor_limit()
    machine = bench_machine.facts(options.gateway)
    rows = rows_of(options.kind, descriptors, FEATURES, GUARDS, bench_wrk.is_there())
    rows = [row for row in rows if options.only is None or options.only in row.name]
    rounds = options.rounds or ROUNDS[options.kind]
    started = time.monotonic()
    measured = run(options, out_dir, rows, rounds)
    report = report_of(options, rounds, machine, measured, time.monotonic() - started)
    show(report)
    if options.kind != "smoke":
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        for name in (options.kind, f"{options.kind}-{stamp}"):
            with open(os.path.join(out_dir, f"{name}.json"), "w", encoding="ascii") as file:
                json.dump(report, file, indent=1)
        bench_plot.write_all(report, out_dir)
        print(f"build/bench/{options.kind}-{stamp}.json and .svg files beside it")
    sys.exit(1 if report["faults"] else 0)


if __name__ == "__main__":
    main()
