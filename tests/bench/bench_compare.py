#!/usr/bin/env python3
"""Runs this tree's gateway and that of another revision by turns, and says what differs.

    bench_compare.py REV [--rounds N] [--only ROW]

REV is built (release) in a worktree, build/compare/COMMIT, which stays for the next time (`git worktree remove` ends it).
Load client, mock and configuration are this tree's for both. Shown are medians, and the ratio of the two taken round by
round: a difference is claimed only where six rounds or more all have it on the same side, else nothing can be told. Both stand beside
the direct path; where that differs too much, the row is noise. Exits 1 when an answer failed; times are not judged.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import bench_machine
from bench_paths import ROOT, Paths, build_load
from bench_rows import ALL, KEY, Row
from bench_run import PROBE, faults_of, run_rounds
from bench_stats import difference, noise, ratios, sample
from bench_table import MUCH, as_text, machine_lines, ratio_text, spread

ROUNDS = 8
BOTH = [f"{build}.{kind}" for kind in ("dynabus", ALL) for build in ("old", "new")]


def rows():
    paths = ("direct", *BOTH)
    return [
        Row("requests-1", False, 1, 0.8, paths=paths),
        Row("requests-64", False, 64, 0.8, paths=paths),
        Row("requests-8-64k", False, 8, 0.8, body_bytes=64 * 1024, paths=paths),
        Row("streams-100", True, 100, 0.8, tokens=25, pace_ms=20, paths=paths),
    ]


LINES = [
    ("CPU per request, 1 connection", "requests-1", "cpu_us", "us"),
    ("CPU per request, 64 connections", "requests-64", "cpu_us", "us"),
    ("CPU per request, 64 KB body, 8 connections", "requests-8-64k", "cpu_us", "us"),
    ("CPU per chunk, 100 streams", "streams-100", "cpu_us", "us"),
    ("requests a second, 64 connections", "requests-64", "answers_per_s", "/s"),
    ("p50, 1 connection", "requests-1", "latency.p50_us", "us"),
    ("p99, 1 connection", "requests-1", "latency.p99_us", "us"),
    ("first token p50, 100 streams", "streams-100", "first_token.p50_us", "us"),
    ("delay of a chunk p99, 100 streams", "streams-100", "delay.p99_us", "us"),
]


def git(*words):
    done = subprocess.run(["git", "-C", ROOT, *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench: git {' '.join(words)} failed")
    return done.stdout.strip()


def build(revision):
    """The binary of a revision, built in a worktree of its own."""
    commit = git("rev-parse", "--short=12", f"{revision}^{{commit}}")
    tree = os.path.join(ROOT, "build/compare", commit)
    if not os.path.exists(os.path.join(tree, "CMakeLists.txt")):
        git("worktree", "prune")
        git("worktree", "add", "--detach", "--force", tree, commit)
    jobs = str(len(os.sched_getaffinity(0)))
    for command in (["cmake", "--preset", "release", "--log-level=WARNING"],
                    ["cmake", "--build", "build/release", "--target", "dynabus", "-j", jobs]):  # fmt: skip
        if subprocess.run(command, cwd=tree, stdout=subprocess.DEVNULL, check=False).returncode != 0:
            raise SystemExit(f"bench: {revision} does not build: {' '.join(command)} in {tree}")
    return os.path.join(tree, "build/release/dynabus"), commit


def compared(results):
    """One line for each figure, of the bare gateway and with everything on."""
    found = []
    for title, row, key, unit in LINES:
        by_path = results.get(row, {})
        for kind, shown in (("dynabus", title), (ALL, "  with everything on")):
            old, new = by_path.get(f"old.{kind}"), by_path.get(f"new.{kind}")
            if not old or not new:
                continue
            ratio, reason = ratios(new, old, key), noise(by_path["direct"], key)
            found.append({"title": shown, "row": row, "key": key, "unit": unit, "noise": reason,
                          "old": plain(sample(old, key)), "new": plain(sample(new, key)), "ratio": plain(ratio),
                          "says": reason or difference(ratio)})  # fmt: skip
    return found


def plain(one):
    return {"median": one.median, "low": one.low, "high": one.high}


def cells(line):
    if line["noise"]:
        return (line["title"], "", "", "", line["says"])
    unit = line["unit"]
    return (line["title"], spread(line["old"], unit), spread(line["new"], unit), ratio_text(line["ratio"]), line["says"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="what to compare with: a commit, a branch, HEAD~5")
    parser.add_argument("--gateway", default=os.path.join(ROOT, "build/release/dynabus"), help="the new binary")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", help="rows whose name holds this")
    parser.add_argument("--pin", action="store_true", help="one processor for the path under test, one for the rest")
    options = parser.parse_args()
    options.gateway_command = options.mock_command = None
    old, commit = build(options.revision)
    out_dir = os.path.join(ROOT, "build/bench/compare")
    os.makedirs(out_dir, exist_ok=True)
    bench_machine.descriptor_limit()
    machine = bench_machine.facts(options.gateway)
    load = build_load(os.path.join(ROOT, "build/bench"))
    chosen = [row for row in rows() if options.only is None or options.only in row.name]
    began = time.monotonic()
    paths = Paths(options, out_dir, {"old": old, "new": options.gateway})
    try:
        paths.start(["direct", *BOTH])
        for server in paths.servers.values():
            server.ask(PROBE, KEY)
        others = bench_machine.Others()
        results = run_rounds(chosen, paths, load, options.rounds)
        share = others.share()
    finally:
        paths.stop()
    lines, broken = compared(results), faults_of(results)
    print("\n".join(machine_lines(machine)))
    print(f"old: {options.revision} ({commit}); new: {machine['gateway'][0]}; {options.rounds} rounds by turns, "
          f"{time.monotonic() - began:.0f} s; other programs took {share * 100:.1f} % of the machine\n")  # fmt: skip
    print(as_text(("", "old", "new", "new over old", "says"), [cells(line) for line in lines]), end="")
    if share > MUCH:
        print("NOT FOR QUOTING: other programs ran on this machine")
    for where, counts in broken.items():
        print(f"BROKEN  {where}: " + ", ".join(f"{fault} {count}" for fault, count in counts.items()))
    with open(os.path.join(ROOT, "build/bench/compare.json"), "w", encoding="ascii") as file:
        json.dump({"machine": machine, "old": commit, "lines": lines, "faults": broken, "others": share, "runs": results}, file)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
