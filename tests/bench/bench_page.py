#!/usr/bin/env python3
"""Writes what the last full runs of the benchmark say into docs/performance.md, between its two marks, and the pictures
into docs/performance/.

    bench_page.py [RUN.json ..]     by default the last three build/bench/full-*.json

The runs have to be of one machine and one build. The one whose CPU is largest is quoted; rows of CPU that differ by more
than 10 % between the runs are named. Runs beside which other programs took the machine are refused. A soak
(build/bench/soak.json) is written behind it where there is one.
"""

import argparse
import glob
import json
import os
import sys

import bench_plot
import bench_table
import soak_judge
from bench_paths import ROOT
from bench_table import MUCH

BEGIN, END = "<!-- written by ./dev bench page: begin -->", "<!-- written by ./dev bench page: end -->"
AGREE = 0.10
RUNS = 3
PICTURES = {
    "latency.svg": "Latency at one connection",
    "cpu.svg": "CPU per request against connections",
    "delay.svg": "Added delay of a token against streams",
    "memory.svg": "Memory over the run",
}


def cpu_of(report):
    """CPU figures of the gateway by name; those that are noise are in none."""
    return {figure["id"]: figure["ours"]["median"] for figure in report["figures"]
            if ".cpu_us." in figure["id"] and not figure["noise"]}  # fmt: skip


def titles(report):
    """What a reader knows a figure by; 'with everything on' stands below its own line."""
    found, last = {}, ""
    for figure in report["figures"]:
        if figure["title"].startswith("  "):
            found[figure["id"]] = f"{last}, with everything on"
        else:
            found[figure["id"]] = last = figure["title"]
    return found


def slowest(reports):
    """By the mean of each figure over its mean in all runs: large figures count no more than small ones."""
    every = [cpu_of(report) for report in reports]
    common = set.intersection(*(set(one) for one in every))

    def weight(one):
        return sum(one[name] / sum(other[name] for other in every) for name in common)

    return max(range(len(reports)), key=lambda at: weight(every[at]))


def disagreeing(reports):
    """Rows of CPU that differ by more than they may."""
    every, names = [cpu_of(report) for report in reports], titles(reports[0])
    found = []
    for name in every[0]:
        values = [one[name] for one in every if name in one]
        apart = max(values) / min(values) - 1
        if len(values) > 1 and apart > AGREE:
            found.append(f"{names[name]} ({apart * 100:.0f} %)")
    return found


def unfit(reports):
    """Why these runs can't be quoted together, or None."""
    if any(report["settings"]["kind"] != "full" or report["settings"]["only"] for report in reports):
        return "a run has not all rows"
    if any(report["settings"]["others"] > MUCH for report in reports):
        return "other programs took the machine during a run"
    for key in ("cpu", "processors", "kernel", "gateway", "nginx"):
        if len({json.dumps(report["machine"][key]) for report in reports}) > 1:
            return f"the runs differ in {key}"
    return None


def agreement(reports):
    if len(reports) == 1:
        return "One run."
    apart = disagreeing(reports)
    quoted = f"The slowest of {len(reports)} runs in a row is quoted"
    if not apart:
        return f"{quoted}; each row of CPU agrees within {AGREE * 100:.0f} %."
    return f"{quoted}. Rows of CPU that differ by more than {AGREE * 100:.0f} % between them: {', '.join(apart)}."


def section(reports, soak=None):
    """The text between the marks."""
    report = reports[slowest(reports)]
    parts = [BEGIN, "## Beside nginx, bare and with everything on", ""]
    options = " --pin" if report["settings"]["pinned"] else ""
    parts += [f"`./dev bench full{options}`, {report['machine']['when']}. {agreement(reports)}", ""]
    parts += [f"* {words}" for words in bench_table.machine_lines(report["machine"])]
    parts += [f"* {words}" for words in bench_table.settings_lines(report["settings"])]
    parts += ["", "Medians over rounds, behind them the smallest and the largest round. 'added' is beyond the direct path, round",
              "by round. Everything on: a key, limits, two guardrails, events with a reader, a row of each request in SQLite.",
              ""]  # fmt: skip
    for heads, rows in bench_table.tables(report):
        if rows:
            parts.append(bench_table.as_markdown(heads, rows))
    whole = "none lost, repeated, out of order or of another call" if not report["faults"] else "NOT ALL WHOLE"
    parts += [f"{report['tokens']:,} tokens arrived: {whole}.", ""]
    drawn = bench_plot.pictures(report)
    parts += [f"![{words}](performance/{name})\n" for name, words in PICTURES.items() if name in drawn]
    if soak:
        parts += ["## A soak", "", f"`./dev soak {soak['seconds'] / 60:g}`, {soak['machine']['when']}:", "", "```"]
        parts += [*soak_judge.lines_of(soak), *(f"BROKEN  {one}" for one in soak["broken"]), "```", ""]
        parts += ["![Memory over the soak](performance/soak-memory.svg)", ""]
    return "\n".join([*parts, END]) + "\n"


def replaced(page, text):
    """The page with other text between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END + "\n")
    if not begin or not end:
        raise SystemExit(f"bench: docs/performance.md has no place for the figures: {BEGIN} .. {END}")
    return before + text + after


def load(path):
    with open(path, encoding="ascii") as file:
        return json.load(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", help="JSON files of full runs")
    parser.add_argument("--force", action="store_true", help="also runs that should not be quoted")
    options = parser.parse_args()
    found = sorted(glob.glob(os.path.join(ROOT, "build/bench/full-*.json")))
    reports = [load(path) for path in options.runs or found[-RUNS:]]
    if not reports:
        raise SystemExit("bench: there is no full run; make three with ./dev bench full")
    if (why := unfit(reports)) and not options.force:
        raise SystemExit(f"bench: not written: {why}")
    soak_path = os.path.join(ROOT, "build/bench/soak.json")
    soak = load(soak_path) if os.path.exists(soak_path) else None
    page_path, folder = os.path.join(ROOT, "docs/performance.md"), os.path.join(ROOT, "docs/performance")
    with open(page_path, encoding="utf-8") as file:
        page = replaced(file.read(), section(reports, soak))
    bench_plot.write_all(reports[slowest(reports)], folder)
    if soak:
        bench_plot.write_soak(soak, folder)
    with open(page_path, "w", encoding="utf-8") as file:
        file.write(page)
    print(f"wrote docs/performance.md and docs/performance/*.svg from {len(reports)} runs")


if __name__ == "__main__":
    sys.exit(main())
