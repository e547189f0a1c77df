"""The table that bench.py prints: what was measured, its ratio to nginx, and what we hold ourselves to."""

# What is shown: title, row and figure of the run ("+": beyond the direct path; "@": of another path than
# dynabus), unit, and two ratios to nginx: what has to hold now and what we aim at. Rows without bounds are
# there to explain the others.
ROWS = [
    ("CPU per request, 1 connection", "requests-1", "cpu_us", "us", 1.8, 1.35),
    ("CPU per request, 8 connections", "requests-8", "cpu_us", "us", None, None),
    ("CPU per request, 64 connections", "requests-64", "cpu_us", "us", 2.5, 2.0),
    ("  with everything on", "requests-64", "cpu_us@dynabus-all", "us", 3.0, 2.0),
    ("  with the access log on", "requests-64", "cpu_us@dynabus-log", "us", 3.0, 2.0),
    ("CPU per request, 64 KiB, 8 conn.", "requests-8-64k", "cpu_us", "us", 2.0, 1.5),
    ("requests/s, 1 connection", "requests-1", "answers_per_s", "/s", None, None),
    ("requests/s, 8 connections", "requests-8", "answers_per_s", "/s", None, None),
    ("requests/s, 64 connections", "requests-64", "answers_per_s", "/s", None, None),
    ("added p50, 1 connection", "requests-1", "+latency.p50_us", "us", 2.5, 1.5),
    ("added first token p50, 100 streams", "streams-100", "+first_token.p50_us", "us", 2.0, 1.2),
    ("added first token p50, 500 streams", "streams-500", "+first_token.p50_us", "us", None, None),
    ("CPU per chunk, 100 streams", "streams-100", "cpu_us", "us", 2.0, 1.0),
    ("  with everything on", "streams-100", "cpu_us@dynabus-all", "us", None, None),
    ("  with a guardrail on streams", "streams-100", "cpu_us@dynabus-guard", "us", None, None),
    ("  with a guardrail elsewhere", "streams-100", "cpu_us@dynabus-aside", "us", None, None),
    ("CPU per chunk, 500 streams", "streams-500", "cpu_us", "us", None, None),
    ("CPU per chunk, 1,000 streams", "streams-1000", "cpu_us", "us", 1.5, 1.0),
    ("added delay of a chunk p50, 100 streams", "streams-100", "+delay.p50_us", "us", None, None),
    ("added delay of a chunk p99, 100 streams", "streams-100", "+delay.p99_us", "us", None, None),
    ("added delay of a chunk p50, 500 streams", "streams-500", "+delay.p50_us", "us", None, None),
    ("added delay of a chunk p99, 500 streams", "streams-500", "+delay.p99_us", "us", None, None),
    ("added delay of a chunk p99, 1,000 streams", "streams-1000", "+delay.p99_us", "us", None, None),
]


def figure(paths, path, key):
    """A figure of one path; with a plus in front of its key, what it has beyond the direct path."""
    if key.startswith("+"):
        return paths[path][key[1:]] - paths["direct"][key[1:]]
    return paths[path][key]


def text(value, unit):
    if unit == "/s":
        return f"{value:,.0f}/s"
    return f"{value:.1f} us" if value < 10000 else f"{value / 1000:.1f} ms"


def verdict(ratio, must, aim):
    if must is None:
        return ""
    state = "meets the aim" if ratio <= aim else "holds" if ratio <= must else "MISSED"
    return f"<= {must} x, aim {aim} x: {state}"


LINE = "{:<42}{:>13}{:>13}{:>13}{:>9}   {}"


def show_rows(summary):
    print(LINE.format("", "direct", "nginx", "dynabus", "ratio", "bound"))
    for title, row, key, unit, must, aim in ROWS:
        if row not in summary:
            continue
        paths = summary[row]
        key, _, other = key.partition("@")
        if (other or "dynabus") not in paths:
            continue
        nginx, ours = figure(paths, "nginx", key), figure(paths, other or "dynabus", key)
        ratio = ours / nginx if nginx > 0 else float("nan")
        has_direct = key != "cpu_us"
        direct = text(paths["direct"][key.lstrip("+")], unit) if has_direct else ""
        shown = f"{ratio:.2f} x"
        print(LINE.format(title, direct, text(nginx, unit), text(ours, unit), shown, verdict(ratio, must, aim)))


def limit(value, must, aim, unit):
    """The verdict on a figure that has to stay below an absolute one."""
    state = "meets the aim" if value <= aim else "holds" if value <= must else "MISSED"
    return f"<= {must} {unit}, aim {aim}: {state}"


def show_resident(memory):
    """Resident size of the tree, shared library pages included."""
    rows = (
        ("resident at start", "start_kib", "nginx", 12, 6),
        ("resident after the request rows", "after_requests_kib", "nginx", 16, 10),
        ("resident after everything", "after_kib", "nginx-stream", None, None),
    )
    for title, key, server, must, aim in rows:
        nginx, ours = memory[server][key] / 1024, memory["dynabus"][key] / 1024
        verdict_on = limit(ours, must, aim, "MiB") if must else ""
        print(LINE.format(title, "", f"{nginx:.1f} MiB", f"{ours:.1f} MiB", f"{ours / nginx:.2f} x", verdict_on))


def show_per_stream(summary, memory):
    """What the tree grew from its start to its peak, over the streams that were open then."""
    for row in ("streams-500", "streams-1000", "streams-2000-slow"):
        if row not in summary:
            continue
        count = int(row.split("-")[1])
        nginx, ours = (
            (summary[row][path]["rss_peak_kib"] - memory[server]["start_kib"]) / count
            for path, server in (("nginx", "nginx-stream"), ("dynabus", "dynabus"))
        )
        print(LINE.format(f"memory per open stream, {count:,} streams", "", f"{nginx:.1f} KiB", f"{ours:.1f} KiB",
                          f"{ours / max(nginx, 0.1):.2f} x", limit(ours, 24, 12, "KiB")))  # fmt: skip


def show_everything_on(summary):
    """Of the same gateway: what it costs with everything on, over what it costs with none of it."""
    for title, row, must in (("everything on over none, 64 connections", "requests-64", 1.25),
                             ("everything on over none, a chunk of 100 streams", "streams-100", None)):  # fmt: skip
        if "dynabus-all" not in summary.get(row, {}):
            continue
        ratio = summary[row]["dynabus-all"]["cpu_us"] / summary[row]["dynabus"]["cpu_us"]
        verdict_on = "" if must is None else f"<= {must} x: {'holds' if ratio <= must else 'MISSED'}"
        print(LINE.format(title, "", "", "", f"{ratio:.2f} x", verdict_on))


def show_promises(summary):
    for row, paths in summary.items():
        for path, figures in paths.items():
            faults = {name: figures[name] for name in ("errors", "lost", "repeated", "out_of_order", "mixed", "unreadable")}
            if any(faults.values()):
                print(f"BROKEN  {row} through {path}: " + ", ".join(f"{name} {count}" for name, count in faults.items() if count))
    tokens = sum(paths["dynabus"]["tokens"] for row, paths in summary.items() if row.startswith("streams"))
    if tokens:
        lost = sum(paths["dynabus"][name] for row, paths in summary.items() if row.startswith("streams")
                   for name in ("lost", "repeated", "out_of_order", "mixed"))  # fmt: skip
        print(f"\n{tokens:,} streamed tokens through dynabus: {lost} lost, repeated, out of order or of another call")


def show(summary, memory, seconds, pinned):
    print()
    show_rows(summary)
    show_everything_on(summary)
    show_resident(memory)
    show_per_stream(summary, memory)
    show_promises(summary)
    where = "the path under test alone on one processor" if pinned else "placed by the kernel"
    print(f"medians; 'added' is beyond the direct path; {where}; {seconds:.0f} s")
