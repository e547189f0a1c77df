"""Memory of a gateway that does nothing but hold: per idle connection, per idle stream, and a minute after the load."""

import socket
import time

from bench_proc import MemoryWatch, rss_kib
from bench_rows import ALL, KEY, Row
from bench_run import run_client

SETTLE_S = 0.5
MINUTE_S = 60
IDLE_CONNECTIONS, IDLE_STREAMS, OPEN_STREAMS = 4000, 2000, 1000
# As the titles of bench_bounds.MEMORY name them.
COUNTS = {"connections": f"{IDLE_CONNECTIONS:,}", "streams": f"{IDLE_STREAMS:,}", "open_streams": f"{OPEN_STREAMS:,}"}
# One token, and then nothing for longer than the measuring takes.
IDLE_MODEL = "mock-tokens-2-pace-60000"
FRESH = {"nginx": "nginx-wide", "dynabus": "dynabus", ALL: ALL}


def request(server, model, stream):
    body = '{"model":"%s",%s"messages":[{"role":"user","content":"hold"}]}' % (model, '"stream":true,' if stream else "")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def held(server, count, model, stream, until):
    """So many connections, each with a request that was answered up to `until`; still open."""
    kept, words = [], request(server, model, stream)
    try:
        for _ in range(count):
            kept.append(socket.create_connection(("127.0.0.1", server.port), 10))
            kept[-1].sendall(words)
            came = b""
            while until not in came:
                piece = kept[-1].recv(65536)
                if not piece:
                    raise SystemExit(f"bench: {server.name} closed a connection that should stay open: {came[:200]}")
                came += piece
    except BaseException:
        close_all(kept)
        raise
    return kept


def close_all(sockets):
    for one in sockets:
        one.close()


def per_held(server, count, model, stream, until):
    before = rss_kib(server.pid)
    kept = held(server, count, model, stream, until)
    time.sleep(SETTLE_S)
    grown = rss_kib(server.pid) - before
    close_all(kept)
    return grown / count


def per_open(server, load):
    """Of streams that run: from before them to the peak."""
    memory = MemoryWatch({"server": server})
    before = rss_kib(server.pid)
    try:
        run_client(Row("open", True, OPEN_STREAMS, 1.2, tokens=50, pace_ms=20), load, server)
    finally:
        memory.stop()
    return (max(memory.peak_kib("server", 0), before) - before) / OPEN_STREAMS


def idle_figures(paths, load):
    """Of fresh processes: what others have left behind would be used again."""
    figures = {}
    for name, like in FRESH.items():
        for key, measure in (
            ("idle_connection_kib", lambda server: per_held(server, IDLE_CONNECTIONS, "mock", False, b'"total_tokens"')),
            ("idle_stream_kib", lambda server: per_held(server, IDLE_STREAMS, IDLE_MODEL, True, b"data:")),
            ("open_stream_kib", lambda server: per_open(server, load)),
        ):
            server = paths.fresh(like)
            if server is None:
                continue
            try:
                run_client(Row("warm", False, 64, 0.3), load, server)  # what is made once is made
                figures.setdefault(name, {})[key] = measure(server)
            finally:
                server.stop()
    return figures


WATCHED = ("nginx", "nginx-stream", "nginx-wide", "dynabus", ALL)


def watch(paths):
    return MemoryWatch({name: server for name, server in paths.servers.items() if name in WATCHED})


def figures(paths, memory):
    """By server, what bench_bounds.MEMORY shows; nginx is two servers, one of them for streams."""
    found = {}
    for name in memory.series:
        found[name] = {
            "start_kib": paths.servers[name].rss_at_start_kib,
            "after_requests_kib": memory.marks.get("after_requests_kib", {}).get(name),
            "peak_kib": memory.peak_kib(name, 0),
            "minute_after_kib": memory.marks.get("minute_after_kib", {}).get(name),
        }
    if "nginx" in found and "nginx-stream" in found:
        for key in ("peak_kib", "minute_after_kib"):
            found["nginx"][key] = found["nginx-stream"][key]
    return found


def wait_a_minute(memory, ended):
    """The minute counts from the end of the load; what was measured on other processes meanwhile is part of it."""
    time.sleep(max(0.0, ended + MINUTE_S - time.monotonic()))
    memory.mark("minute_after_kib")


def over_time(memory):
    """For the picture: seconds, and MiB of each server, one point a second."""
    step = max(1, round(1 / memory.PERIOD_S))
    points = slice(0, len(memory.times), step)
    return {
        "seconds": [round(at - memory.began, 1) for at in memory.times[points]],
        "mib": {name: [round(size / 1024, 2) for size in series[: len(memory.times)][points]]
                for name, series in memory.series.items()},
    }  # fmt: skip
