"""What is shown of a run, what has to hold, and what other gateways were measured at: rows of figures out of results.
Pure functions; nothing is measured or printed here."""

from bench_rows import ALL
from bench_stats import Sample, beyond, noise, not_all_open, own_noise, rate_missed, ratios, sample, unanswered

EVERYTHING_OVER_NONE = 1.25
RIVALS = ("Busbar 1.5.5", "Ferro 1.4.1", "LiteLLM")


class Line:
    """A figure: row and key of the results ("+": beyond the direct path, "^": beyond one process), unit; what must hold
    now and what is aimed at, as ratios to nginx or, `absolute`, in the unit; and what rivals were measured at, each beside
    nginx in its own run."""

    def __init__(self, title, row, key, unit="us", *, now=None, aim=None, now_bare=None, absolute=False, rivals=(),
                 nginx="nginx", ours="dynabus"):  # fmt: skip
        self.title, self.row, self.key, self.unit = title, row, key, unit
        self.now, self.aim, self.absolute, self.rivals = now, aim, absolute, rivals
        self.now_bare = now if now_bare is None else now_bare
        self.nginx, self.ours = nginx, ours


CPU, P50, P99 = "cpu_us", "+latency.p50_us", "+latency.p99_us"
FIRST, DELAY50, DELAY99, RATE = "+first_token.p50_us", "+delay.p50_us", "+delay.p99_us", "answers_per_s"

LINES = [
    Line("CPU per request, 1 connection", "requests-1", CPU, now=1.7, aim=1.35, rivals=(2.0, 6.7, 190)),
    Line("CPU per request, 8 connections", "requests-8", CPU),
    Line("CPU per request, 64 connections", "requests-64", CPU, now=3.0, now_bare=2.5, aim=2.0, rivals=(4.1, 12, 950)),
    Line("CPU per request, 64 connections, load by wrk", "wrk-64", CPU),
    Line("CPU per request, 500 connections", "requests-500", CPU),
    Line("CPU per request, 64 KB body, 8 connections", "requests-8-64k", CPU, now=2.0, aim=1.5, rivals=(5.5, 71)),
    Line("CPU per request, 1 MB body, 8 connections", "requests-8-1m", CPU),
    Line("CPU per request, 60 ms upstream, 1,000 connections", "slow-1000", CPU),
    Line("CPU per request, a connection for each, 8 at once", "churn-8", CPU),
    Line("CPU per request, TLS to the client, 64 connections", "tls-in-64", CPU, nginx="nginx-tls", ours="dynabus-tls"),
    Line("CPU per request, TLS to the provider, 64 conn.", "tls-out-64", CPU, nginx="nginx-out", ours="dynabus-out"),
    Line("requests a second, 1 connection", "requests-1", RATE, "/s"),
    Line("requests a second, 8 connections", "requests-8", RATE, "/s"),
    Line("requests a second, 64 connections", "requests-64", RATE, "/s"),
    Line("requests a second, 64 connections, load by wrk", "wrk-64", RATE, "/s"),
    Line("requests a second, 500 connections", "requests-500", RATE, "/s"),
    Line("requests a second, 60 ms upstream, 1,000 conn.", "slow-1000", RATE, "/s"),
    Line("requests a second, a connection for each, 8 at once", "churn-8", RATE, "/s"),
    Line("added p50, 1 connection", "requests-1", P50, now=2.5, aim=1.5, rivals=(3.4, 11.6, 470)),
    Line("added p99, 1 connection", "requests-1", P99),
    Line("added p50, 1 connection, 1,000 a second (open loop)", "open-1", P50),
    Line("added p99, 1 connection, 1,000 a second (open loop)", "open-1", P99),
    Line("added p50, 60 ms upstream, 1,000 connections", "slow-1000", P50),
    Line("added p50, edge, router, provider on tcp with CURVE", "fleet-1", "^latency.p50_us", now=400, aim=200,
         absolute=True),
    Line("CPU per chunk, 1 stream", "streams-1", CPU),
    Line("CPU per chunk, 100 streams", "streams-100", CPU, now=1.5, aim=1.0, rivals=(2.5, 5.5, 62)),
    Line("CPU per chunk, 500 streams", "streams-500", CPU),
    Line("CPU per chunk, 1,000 streams", "streams-1000", CPU, now=1.5, aim=1.0, rivals=(1.7, 2.8)),
    Line("CPU per chunk, 2,000 streams", "streams-2000", CPU, now=1.5, aim=1.0),
    Line("CPU per chunk, {wide} streams at 250 ms", "streams-wide", CPU, nginx="nginx-wide"),
    Line("added first token p50, 1 stream", "streams-1", FIRST),
    Line("added first token p50, 100 streams", "streams-100", FIRST, now=2.0, aim=1.2, rivals=(3.3, 14)),
    Line("added first token p50, 500 streams", "streams-500", FIRST),
    Line("added first token p50, 1,000 streams", "streams-1000", FIRST),
    Line("added delay of a chunk p50, 1 stream", "streams-1", DELAY50),
    Line("added delay of a chunk p50, 100 streams", "streams-100", DELAY50),
    Line("added delay of a chunk p99, 100 streams", "streams-100", DELAY99),
    Line("added delay of a chunk p99, 500 streams", "streams-500", DELAY99),
    Line("added delay of a chunk p99, 1,000 streams", "streams-1000", DELAY99, now=5000, aim=1800, absolute=True,
         rivals=(15000, 208000)),
    Line("added delay of a chunk p99, 2,000 streams", "streams-2000", DELAY99),
    Line("added delay of a chunk p99, {wide} streams at 250 ms", "streams-wide", DELAY99, nginx="nginx-wide"),
]  # fmt: skip


BEYOND = {"+": "direct", "^": "one"}


def samples_of(by_path, path, key):
    """The figure of one path, or None where the path was not run."""
    if not by_path.get(path):
        return None
    base = by_path.get(BEYOND.get(key[0]))
    if base:
        return beyond(by_path[path], base, key[1:])
    return sample(by_path[path], key)


def state_of(value, now, aim):
    if now is None:
        return ""
    if value is None:
        return "cannot be told"
    return "aim met" if value <= aim else "held" if value <= now else "MISSED"


def plain(found):
    return None if found is None else {"median": found.median, "low": found.low, "high": found.high}


def one(line, by_path, ours, now, title):
    """The figure of one of our paths beside nginx."""
    bare = line.key.lstrip("+^")
    nginx, value = samples_of(by_path, line.nginx, line.key), samples_of(by_path, ours, line.key)
    reason = unanswered(by_path[ours], by_path.get("direct")) or not_all_open(by_path[ours])
    reason = reason or (noise(by_path["direct"], bare) if by_path.get("direct") else None)
    reason = reason or rate_missed(by_path[ours]) or own_noise(value, line.key)
    told = nginx is not None and not unanswered(by_path[line.nginx]) and own_noise(nginx, line.key) is None
    ratio = value.median / nginx.median if told else None
    judged = value.median if line.absolute else ratio
    has_direct = line.key != CPU and by_path.get("direct")
    return {
        "title": title,
        "id": f"{line.row}.{line.key}.{ours}",
        "unit": line.unit,
        "direct": plain(sample(by_path["direct"], bare)) if has_direct else None,
        "nginx": plain(nginx),
        "ours": plain(value),
        "ratio": ratio,
        "now": now,
        "aim": line.aim,
        "absolute": line.absolute,
        "state": "" if now is None else "noise" if reason else state_of(judged, now, line.aim),
        "noise": reason,
        "rivals": list(line.rivals),
        "ahead": None if reason or judged is None or not line.rivals else judged < min(line.rivals),
        "rounds": len(by_path[ours]),
    }


def figures_of(results, wide=0):
    """Every line of which there are results, with everything on behind it where that was run."""
    found = []
    for line in LINES:
        by_path = results.get(line.row, {})
        title = line.title.format(wide=f"{wide:,}")
        if by_path.get(line.ours):
            found.append(one(line, by_path, line.ours, line.now_bare, title))
        if by_path.get(ALL):
            found.append(one(line, by_path, ALL, line.now, "  with everything on"))
    return found


def over_none(results):
    """Of the same gateway: everything on over none of it."""
    found = []
    for title, row, now in (("CPU per request, 64 connections", "requests-64", EVERYTHING_OVER_NONE),
                            ("CPU per request, 1 connection", "requests-1", None),
                            ("CPU per chunk, 100 streams", "streams-100", None)):  # fmt: skip
        by_path = results.get(row, {})
        if by_path.get(ALL) and by_path.get("dynabus"):
            ratio = ratios(by_path[ALL], by_path["dynabus"], CPU)
            reason = noise(by_path["direct"], CPU) if by_path.get("direct") else None
            state = "" if now is None else "noise" if reason else "held" if ratio.median <= now else "MISSED"
            found.append({"title": title, "ratio": plain(ratio), "now": now, "state": state, "noise": reason})
    return found


FEATURE_TITLES = {
    "no-key": "no key asked for (in place of one)",
    "access-log": "a line in the log for each request",
    "rate-limit": "limits of requests and tokens, in all, per key and per model",
    "word-filter": "guardrail: 100 words, before and after a request",
    "max-token": "guardrail: tokens and messages",
    "rows": "a row of each request in SQLite",
    "events": "an event for each request, nobody listens",
    "events-read": "an event for each request, one listener",
    "dynabus-guard": "guardrail on a stream",
    "dynabus-aside": "guardrail before and behind a stream",
}


def features_of(results):
    """What each feature costs alone, in microseconds and over the gateway without it."""
    found = []
    for row, unit in (("features-64", "request, 64 connections"), ("streams-100", "chunk, 100 streams")):
        by_path = results.get(row, {})
        for name, title in FEATURE_TITLES.items():
            if not by_path.get(name) or not by_path.get("dynabus"):
                continue
            pairs = zip(by_path[name], by_path["dynabus"])
            costs = Sample(one_run[CPU] - base[CPU] for one_run, base in pairs)
            reason = noise(by_path["direct"], CPU) if by_path.get("direct") else None
            found.append({"title": title, "id": name, "per": unit, "us": plain(costs), "noise": reason,
                          "ratio": plain(ratios(by_path[name], by_path["dynabus"], CPU))})  # fmt: skip
    return found


# Of the gateway's tree, shared pages of libraries included: title, key, unit, what must hold, what is aimed at, rivals.
MEMORY = [
    ("resident at start", "start_kib", "MiB", 12, 6, (14, 34, 327)),
    ("resident after the rows of requests", "after_requests_kib", "MiB", 16, 10, (26, 49)),
    ("resident at most", "peak_kib", "MiB", None, None, ()),
    ("resident a minute after", "minute_after_kib", "MiB", 20, 20, ()),
    ("per idle connection, of {connections}", "idle_connection_kib", "KiB", None, None, ()),
    ("per idle stream, of {streams}", "idle_stream_kib", "KiB", 24, 12, (54, 152)),
    ("per open stream, of {open_streams} at 20 ms", "open_stream_kib", "KiB", 24, 12, (54, 152)),
]


def memory_of(memory, results, wide=0):
    """`memory`: by server the figures that MEMORY names. To them comes the peak of the row with most streams, over what the
    server had at its start: it includes all that was left of other rows."""
    found = []
    for title, key, unit, now, aim, rivals in MEMORY:
        scale = 1024 if unit == "MiB" else 1
        values = {name: figures[key] / scale for name, figures in memory.items() if figures.get(key) is not None}
        if "dynabus" in values:
            found.append(memory_line(title.format(**memory.get("counts", {})), unit, values, now, aim, rivals))
    values = {}
    for path, runs in results.get("streams-wide", {}).items():
        start = memory.get(path, {}).get("start_kib")
        if runs and start is not None and not unanswered(runs):
            values["nginx" if path == "nginx-wide" else path] = (max(run["rss_peak_kib"] for run in runs) - start) / wide
    if "dynabus" in values:
        found.append(memory_line(f"per open stream, of {wide:,} at 250 ms", "KiB", values, 24, 12, (54, 152)))
    return found


def memory_line(title, unit, values, now, aim, rivals):
    return {
        "title": title,
        "unit": unit,
        **{name: values.get(name) for name in ("nginx", "dynabus", ALL)},
        "now": now,
        "aim": aim,
        "state": state_of(values["dynabus"], now, aim) if now else "",
        "state_all": state_of(values[ALL], now, aim) if now and ALL in values else "",
        "rivals": list(rivals),
    }
