"""Runs the rows of a benchmark: paths take turns within a round, every other round in reverse."""

import json
import os
import subprocess
import sys
import time

import bench_wrk
from bench_machine import Others
from bench_proc import cpu_us, rss_kib

PROBE = b'{"model":"mock","messages":[{"role":"user","content":"ping"}]}'


def run_client(row, load, server, cpus=None):
    if row.by_wrk:
        return bench_wrk.run(row, server, os.path.dirname(load))
    finished = subprocess.run(
        row.command(load, server),
        stdout=subprocess.PIPE,
        text=True,
        timeout=row.seconds + row.ramp_ms / 1000 + 180,
        check=False,
        preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
    )
    if finished.returncode != 0:
        raise SystemExit(f"bench: the load client failed on {row.name} through {server.name}")
    return json.loads(finished.stdout)


def measure(row, load, server, cpus, memory=None):
    """The client's result, with CPU of the server per answer or token that arrived, and its memory."""
    began = time.monotonic()
    before_kib = rss_kib(server.pid)
    others = Others()
    cpu_before = cpu_us(server.pid)
    result = run_client(row, load, server, cpus)
    cpu = cpu_us(server.pid) - cpu_before
    done = result["tokens"] if row.streams else result["answers"]
    result["cpu_us"] = cpu / done if done else 0.0
    result["others"] = others.share()
    result["rss_before_kib"] = before_kib
    result["rss_peak_kib"] = max(before_kib, rss_kib(server.pid), memory.peak_kib(server.name, began) if memory else 0)
    return result


def show_progress(text):
    if sys.stderr.isatty():
        print(f"\r{text:<70}", end="", file=sys.stderr, flush=True)


def run_rounds(rows, paths, load, rounds, memory=None):
    """Results by row and path, a list with one for each round. A row may want fewer rounds than others."""
    results = {row.name: {path: [] for path in paths.of_row(row)} for row in rows}
    for number in range(rounds):
        for row in rows:
            if number >= max(1, rounds - row.fewer):
                continue
            if row.streams and memory and not rows[0].streams:
                memory.mark("after_requests_kib")
            turns = list(paths.of_row(row).items())
            for path, server in turns if number % 2 == 0 else reversed(turns):
                show_progress(f"  round {number + 1} of {rounds}: {row.name} {path}")
                results[row.name][path].append(measure(row, load, server, paths.theirs, memory))
    show_progress("")
    return results


FAULTS = ("errors", "lost", "repeated", "out_of_order", "mixed", "unreadable")


def faults_of(results):
    """What failed, by row and path; nothing where all was well."""
    found = {}
    for row, by_path in results.items():
        for path, runs in by_path.items():
            counts = {fault: sum(run[fault] for run in runs) for fault in FAULTS}
            if any(counts.values()):
                found[f"{row} through {path}"] = {fault: count for fault, count in counts.items() if count}
    return found
