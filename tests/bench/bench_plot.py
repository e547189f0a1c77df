"""The pictures of a report: which figures stand in which chart. bench_svg.py draws."""

import math
import os

from bench_bounds import CPU
from bench_rows import ALL
from bench_stats import beyond, sample, slope
from bench_svg import chart

NAMES = {"direct": "direct", "nginx": "nginx", "nginx-stream": "nginx (streams)", "nginx-wide": "nginx (wide)",
         "dynabus": "dynabus", ALL: "everything on"}  # fmt: skip
SHOWN = ("direct", "nginx", "dynabus", ALL)
PERCENTILES = [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")]


def nines(share):
    """0.9 is 1, 0.99 is 2: the tail of a distribution has the room that it needs."""
    return -math.log10(max(1 - share, 1e-5))


def middle_curve(runs, key):
    """Of the rounds' curves the median at each share."""
    curves = [run[key] for run in runs if run.get(key)]
    return [(nines(points[0][0]), sample([{"us": point[1]} for point in points], "us").median) for points in zip(*curves)]


def latency(runs):
    rows = [row for row in ("open-1", "requests-1") if row in runs]
    if not rows:
        return None
    series = [(NAMES[path], middle_curve(runs[rows[0]][path], "latency_curve")) for path in SHOWN if runs[rows[0]].get(path)]
    title = "Latency at one connection" + (", 1,000 requests a second (open loop)" if rows[0] == "open-1" else "")
    ticks = [(nines(share), name) for share, name in PERCENTILES]
    return chart(title, "share of requests that are faster", "microseconds", series, y_log=True, x_ticks=ticks, marks=False)


def cpu(runs):
    rows = [(count, runs[f"requests-{count}"]) for count in (1, 8, 64, 500) if f"requests-{count}" in runs]
    series = [
        (NAMES[path], [(count, sample(row[path], CPU).median) for count, row in rows if row.get(path)])
        for path in ("nginx", "dynabus", ALL)
    ]
    if not any(len(points) > 1 for _, points in series):
        return None
    ticks = [(count, str(count)) for count, _ in rows]
    return chart("CPU per request", "connections", "microseconds", series, x_log=True, x_ticks=ticks)


def delay(runs):
    rows = [(count, runs[f"streams-{count}"]) for count in (1, 100, 500, 1000, 2000) if f"streams-{count}" in runs]
    series = []
    for path in ("nginx", "dynabus", ALL):
        for share in ("p99", "p50"):
            points = [
                (count, beyond(row[path], row["direct"], f"delay.{share}_us").median)
                for count, row in rows
                if row.get(path) and row.get("direct")
            ]
            series.append((f"{NAMES[path]} {share}", points))
    if not any(len(points) > 1 for _, points in series):
        return None
    ticks = [(count, f"{count:,}") for count, _ in rows]
    title = "Added delay of a token, streams at 20 ms"
    return chart(title, "streams", "microseconds", series, x_log=True, y_log=True, x_ticks=ticks)


def memory(over_time):
    series = [(NAMES[name], list(zip(over_time["seconds"], sizes))) for name, sizes in over_time["mib"].items() if name in NAMES]
    if not over_time["seconds"] or not series:
        return None
    return chart("Resident memory over the run", "seconds", "MiB", series, marks=False)


def pictures(report):
    """By file name, what can be drawn of this report."""
    drawn = {
        "latency.svg": latency(report["runs"]),
        "cpu.svg": cpu(report["runs"]),
        "delay.svg": delay(report["runs"]),
        "memory.svg": memory(report["memory_over_time"]),
    }
    return {name: svg for name, svg in drawn.items() if svg}


def write_all(report, folder):
    os.makedirs(folder, exist_ok=True)
    for name, svg in pictures(report).items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(svg)


def soak(report):
    """Memory over a soak, and the line through its second half."""
    points = [(found["at_s"], found["rss_kib"] / 1024) for found in report["samples"]]
    half = points[len(points) // 2 :]
    steep = slope([x for x, _ in half], [y for _, y in half])
    middle_x, middle_y = (sum(point[at] for point in half) / len(half) for at in (0, 1))
    fit = [(x, middle_y + steep * (x - middle_x)) for x, _ in (half[0], half[-1])]
    series = [("everything on", points), ("second half", fit)]
    return chart("Resident memory in a soak", "seconds", "MiB", series, marks=False)


def write_soak(report, folder):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "soak-memory.svg"), "w", encoding="utf-8") as file:
        file.write(soak(report))
