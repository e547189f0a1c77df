#!/usr/bin/env python3
"""Measures the gateway beside nginx as a bare reverse proxy and beside the direct path, in one run.

    bench.py quick     four rounds, two minutes
    bench.py full      more rounds and rows: 64 KiB bodies, 1,000 and 2,000 streams, memory per stream, access log

"Everything on" is the gateway once more with what a team would run: a limit on requests, two guardrails, rows of
every request in SQLite, events with somebody who reads them. Keys and metrics are on in both.

Everything is on loopback: one load client (stream_load), one mock upstream, and between them nothing,
nginx (one worker, keep-alive to the upstream, no access log, no buffering of streams), or the gateway
(one cell, since nginx has one worker). The paths take turns within a round and the table shows medians over
rounds. CPU is user + system of the path's process tree, measured around the run, per answer or token that
arrived. The kernel places the processes, as it would in use; --pin gives the path under test the first
processor to itself and the second one to client and mock, which costs every hop a wake-up across processors.

Exits 1 when an answer failed, or a token was lost, repeated or out of order; times are printed, not judged.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

import bench_table
from bench_proc import Reader, Server, cpu_us, free_port, rss_kib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
KEY = "bench-key"  # sent by the client; the gateway is told to ask for it

NGINX_CONF = """
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    client_body_buffer_size 256k;
    keepalive_requests 100000000;
    upstream mock {{ server 127.0.0.1:{upstream}; keepalive 4096; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering {buffering};
        }}
    }}
}}
"""

# The mock serves every model: the target declares none.
GATEWAY_CONF = """
strategy:
  mode: single
targets:
  - name: mock
    provider: openai
    base_url: http://127.0.0.1:{upstream}/v1
    api_key: ${{BENCH_UPSTREAM_KEY}}
"""

EVERYTHING_CONF = """
bus:
  listen: tcp://127.0.0.1:{bus_port}
store:
  backend: sqlite
  dsn: {dir}/ledger.db
plugins:
  - name: rate-limit
    type: ratelimit
    stage: before_request
    enabled: true
    config: {{requests_per_second: 1000000, key_rpm: 100000000, model_tpm: 1000000000}}
  - name: word-filter
    type: guardrail
    enabled: true
    stages: [before_request, after_request, during_stream]
    config: {{blocked_words: [{words}], whole_words: true}}
  - name: max-token
    type: guardrail
    stage: before_request
    enabled: true
    config: {{max_tokens: 100000, max_messages: 1000}}
  - name: request-logger
    type: logging
    stage: after_request
    enabled: true
    config: {{persist: true, level: debug}}
"""
# One guardrail alone, and the same where no chunk comes by: that may cost a stream nothing.
GUARD_CONF = """
plugins:
  - name: word-filter
    type: guardrail
    enabled: true
    stages: [{stages}]
    config: {{blocked_words: [{words}], whole_words: true}}
"""
GUARDS = {"dynabus-guard": "during_stream", "dynabus-aside": "before_request, after_request"}
WORDS = ", ".join(f"forbidden{number}" for number in range(100))


class Row:
    """One kind of load."""

    def __init__(self, name, streams, connections, seconds, tokens=8, pace_ms=0, body_bytes=1024, others=()):
        self.name = name
        self.streams = streams
        self.connections = connections
        self.seconds = seconds
        self.tokens = tokens
        self.pace_ms = pace_ms
        self.body_bytes = body_bytes
        self.others = others  # the gateway once more, otherwise configured

    def command(self, load, server):
        model = f"mock-tokens-{self.tokens}" + (f"-pace-{self.pace_ms}" if self.pace_ms else "")
        # Streams begin spread over the time that one takes, so that as many are open at any moment.
        ramp_ms = min(self.tokens * self.pace_ms, 1000) if self.streams else 0
        options = {
            "--connections": self.connections,
            "--seconds": self.seconds,
            "--warmup": ramp_ms / 1000 if self.streams else 0.2,
            "--ramp-ms": ramp_ms,
            "--tokens": self.tokens,
            "--model": model,
            "--body-bytes": self.body_bytes,
            "--key": KEY,
        }
        words = [str(word) for pair in options.items() for word in pair]
        return [load, "streams" if self.streams else "requests", server.url, *words]


def rows_of(kind):
    seconds = 1 if kind == "quick" else 3
    logged, guarded = (("dynabus-log",), tuple(GUARDS)) if kind == "full" else ((), ())
    rows = [
        Row("requests-1", False, 1, seconds),
        Row("requests-8", False, 8, seconds),
        Row("requests-64", False, 64, seconds, others=("dynabus-all", *logged)),
        Row("streams-100", True, 100, seconds, tokens=50, pace_ms=20, others=("dynabus-all", *guarded)),
        Row("streams-500", True, 500, seconds, tokens=50, pace_ms=20),
    ]
    if kind == "full":
        rows.append(Row("requests-8-64k", False, 8, seconds, body_bytes=64 * 1024))
        rows.append(Row("streams-1000", True, 1000, seconds, tokens=50, pace_ms=20))
        rows.append(Row("streams-2000-slow", True, 2000, seconds, tokens=20, pace_ms=250))
    return rows


class RssSampler:
    """The largest resident size while a load runs."""

    def __init__(self, pid):
        self.pid = pid
        self.peak_kib = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)

    def sample(self):
        while not self.over.wait(0.25):
            self.peak_kib = max(self.peak_kib, rss_kib(self.pid))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def measure(row, load, server, cpus):
    before_kib = rss_kib(server.pid)
    with RssSampler(server.pid) as rss:
        cpu_before = cpu_us(server.pid)
        finished = subprocess.run(
            row.command(load, server),
            stdout=subprocess.PIPE,
            text=True,
            timeout=row.seconds + 30,
            check=False,
            preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
        )
        cpu = cpu_us(server.pid) - cpu_before
    if finished.returncode != 0:
        raise SystemExit(f"bench: the load client failed on {row.name} through {server.name}")
    result = json.loads(finished.stdout)
    done = result["tokens"] if row.streams else result["answers"]
    result["cpu_us"] = cpu / done if done else 0.0
    result["rss_before_kib"] = before_kib
    result["rss_peak_kib"] = rss.peak_kib
    return result


def build_load(out_dir):
    """The client is built here and not with the product: it has to measure any server, from any tree."""
    sources = [os.path.join(HERE, name) for name in sorted(os.listdir(HERE)) if name.startswith(("load_", "stream_load"))]
    binary = os.path.join(out_dir, "stream_load")
    newest = max(os.path.getmtime(source) for source in sources)
    if not os.path.exists(binary) or os.path.getmtime(binary) < newest:
        units = [source for source in sources if source.endswith(".c")]
        subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-o", binary, *units, "-lssl", "-lcrypto"], check=True)
    return binary


def start_nginx(name, out_dir, upstream, buffering, cpus):
    home = os.path.join(out_dir, name)
    os.makedirs(home, exist_ok=True)
    port = free_port()
    conf = os.path.join(home, "nginx.conf")
    with open(conf, "w", encoding="ascii") as file:
        file.write(NGINX_CONF.format(dir=home, port=port, upstream=upstream, buffering=buffering))
    command = ["nginx", "-p", home, "-e", os.path.join(home, "error.log"), "-c", conf, "-g", "daemon off;"]
    return Server(name, command, port, os.path.join(home, "output.log"), cpus=cpus)


def two_free_ports_after(port):
    """A bus takes three in a row."""
    for at in (port, port + 1, port + 2):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", at))
            except OSError:
                return False
    return True


def everything_on(out_dir):
    """What is added to the configuration, and where the events are."""
    bus_port = free_port()
    while not two_free_ports_after(bus_port):
        bus_port = free_port()
    home = os.path.join(out_dir, "everything")
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home)
    return EVERYTHING_CONF.format(bus_port=bus_port, dir=home, words=WORDS), f"tcp://127.0.0.1:{bus_port}"


def start_gateway(name, options, out_dir, upstream, cpus, log_level="warn", more=""):
    port = free_port()
    log = os.path.join(out_dir, f"{name}.log")
    if options.gateway_command:
        command = options.gateway_command.format(port=port, upstream=upstream).split()
        return Server(name, command, port, log, cpus=cpus)
    conf = os.path.join(out_dir, f"{name}.yaml")
    with open(conf, "w", encoding="ascii") as file:
        file.write(GATEWAY_CONF.format(upstream=upstream) + more)
    command = [options.gateway, "serve", "--config", conf, "--listen", f"127.0.0.1:{port}", "--cells", "1"]
    variables = {"MASTER_KEY": KEY, "BENCH_UPSTREAM_KEY": "sk-bench", "LOG_LEVEL": log_level, "LOG_FORMAT": "json"}
    return Server(name, command, port, log, env=variables, cpus=cpus)


def start_mock(options, out_dir, cpus):
    port = free_port()
    command = (options.mock_command or f"{options.gateway} mock --listen 127.0.0.1:{{port}}").format(port=port).split()
    return Server("direct", command, port, os.path.join(out_dir, "mock.log"), cpus=cpus)


def start_all(options, out_dir, servers):
    """Adds to `servers` as it goes, so that whatever was started is ended if the next one fails."""
    processors = sorted(os.sched_getaffinity(0))
    pin = len(processors) > 1 and options.pin
    ours = {processors[0]} if pin else None
    theirs = {processors[1]} if pin else None
    servers["direct"] = start_mock(options, out_dir, theirs)
    upstream = servers["direct"].port
    servers["nginx"] = start_nginx("nginx", out_dir, upstream, "on", ours)
    servers["nginx-stream"] = start_nginx("nginx-stream", out_dir, upstream, "off", ours)
    servers["dynabus"] = start_gateway("dynabus", options, out_dir, upstream, ours)
    if options.gateway_command is None:
        more, bus = everything_on(out_dir)
        servers["dynabus-all"] = start_gateway("dynabus-all", options, out_dir, upstream, ours, more=more)
        servers["reader"] = Reader([options.gateway, "tail", "--bus", bus], os.path.join(out_dir, "reader.log"))
    if options.kind == "full":
        servers["dynabus-log"] = start_gateway("dynabus-log", options, out_dir, upstream, ours, log_level="info")
        for name, stages in GUARDS.items():
            more = GUARD_CONF.format(stages=stages, words=WORDS)
            servers[name] = start_gateway(name, options, out_dir, upstream, ours, more=more)
    return theirs


def paths_of(row, servers):
    """What a row measures, and the server that each is measured on."""
    paths = {"direct": "direct", "nginx": "nginx-stream" if row.streams else "nginx", "dynabus": "dynabus"}
    return {**paths, **{name: name for name in row.others if name in servers}}


def run_rounds(options, servers, load, cpus):
    rows = [row for row in rows_of(options.kind) if options.only is None or options.only in row.name]
    results = {row.name: {path: [] for path in paths_of(row, servers)} for row in rows}
    after_requests = {}
    rounds = options.rounds or (4 if options.kind == "quick" else 5)
    for number in range(rounds):
        for row in rows:
            if row.streams and not after_requests:
                after_requests = {name: rss_kib(server.pid) for name, server in servers.items()}
            paths = list(paths_of(row, servers).items())
            for path, server in paths if number % 2 == 0 else reversed(paths):
                print(f"\r  round {number + 1} of {rounds}: {row.name} {path:<10}", end="", file=sys.stderr, flush=True)
                results[row.name][path].append(measure(row, load, servers[server], cpus))
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    return results, after_requests


def median_of(runs, key):
    """`key` is a path into the client's result: 'latency.p50_us'."""

    def value(run):
        for part in key.split("."):
            run = run[part]
        return run

    return statistics.median(value(run) for run in runs)


FAULTS = ("errors", "lost", "repeated", "out_of_order", "mixed", "unreadable")


def summary_of(results):
    keys = ["answers_per_s", "cpu_us", "latency.p50_us", "latency.p99_us", "first_token.p50_us", "first_token.p99_us",
            "delay.p50_us", "delay.p99_us", "rss_before_kib", "rss_peak_kib"]  # fmt: skip
    summary = {}
    for row, paths in results.items():
        for path, runs in paths.items():
            figures = {key: median_of(runs, key) for key in keys}
            figures.update({fault: sum(run[fault] for run in runs) for fault in FAULTS})
            figures["tokens"] = sum(run["tokens"] for run in runs)
            summary.setdefault(row, {})[path] = figures
    return summary


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", default="quick", choices=["quick", "full"])
    parser.add_argument("--gateway", default=os.path.join(ROOT, "build/release/dynabus"), help="the binary to measure")
    parser.add_argument("--gateway-command", help="another gateway instead: words with {port} and {upstream}")
    parser.add_argument("--mock-command", help="another upstream instead: words with {port}")
    parser.add_argument("--rounds", type=int, help="instead of 4 (quick) or 5 (full)")
    parser.add_argument("--only", help="rows whose name holds this: requests, streams, 64, ...")
    parser.add_argument("--pin", action="store_true", help="one processor for the path under test, one for the rest")
    return parser.parse_args()


def main():
    options = parse_options()
    out_dir = os.path.join(ROOT, "build/bench")
    os.makedirs(out_dir, exist_ok=True)
    started = time.monotonic()
    servers = {}
    try:
        load = build_load(out_dir)
        cpus = start_all(options, out_dir, servers)
        probe = b'{"model":"mock","messages":[{"role":"user","content":"ping"}]}'
        for server in servers.values():
            server.ask(probe, KEY)
        results, after_requests = run_rounds(options, servers, load, cpus)
        summary = summary_of(results)
        memory = {
            name: {
                "start_kib": servers[name].rss_at_start_kib,
                "after_requests_kib": after_requests.get(name, rss_kib(servers[name].pid)),
                "after_kib": rss_kib(servers[name].pid),
            }
            for name in ("nginx", "nginx-stream", "dynabus")
        }
    finally:
        for server in reversed(list(servers.values())):
            server.stop()
    seconds = time.monotonic() - started
    bench_table.show(summary, memory, seconds, pinned=cpus is not None)
    path = os.path.join(out_dir, f"{options.kind}.json")
    with open(path, "w", encoding="ascii") as file:
        json.dump({"summary": summary, "memory": memory, "runs": results, "seconds": seconds}, file, indent=1)
    faults = sum(figures[fault] for paths in summary.values() for figures in paths.values() for fault in FAULTS)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
