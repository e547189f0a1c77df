#!/usr/bin/env python3
"""Keeps a gateway busy for a long time with everything on, and looks at what grows.

    soak.py [MINUTES]     20 by default

All the time: plain requests on 64 connections at a fixed rate, of which one in fifty fails at the upstream and is tried
again; 500 streams, one in twenty closed by its client, one in fifty refused by the upstream at first; requests on
connections of their own that always fail; streams that the upstream cuts; a changed configuration every five seconds, by
its file and by SIGHUP in turns; and a subscriber that hears every event.

Every two seconds resident memory, descriptors and threads of the gateway are read. Printed: their course, the slope of
the memory over the second half, what it is a minute after, requests that were lost or never finished, events that were
missing or late. Exits 1 where a request or an event was lost or late, a configuration was refused, or descriptors or threads
grow. The slope of memory is shown, not judged: so is the picture in build/bench/soak-memory.svg.
"""

import argparse
import collections
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import bench_machine
import bench_plot
from bench_paths import EVERYTHING, PLUGINS, ROOT, WORDS, build_load, bus_port
from bench_proc import Server, free_port, open_files, rss_kib, threads
from bench_rows import KEY
from soak_judge import judge, lines_of

SAMPLE_S, RELOAD_S, AFTER_S = 2, 5, 60

CONFIG = """
strategy: {{mode: single}}
retry_budget: {{percent: 100}}
bus: {{listen: {bus}}}
store: {{backend: sqlite, dsn: {home}/ledger.db}}
targets:
  - name: good
    provider: openai
    base_url: http://127.0.0.1:{mock}/v1
    api_key: sk-soak
    retry: {{attempts: 4, initial_backoff_ms: 1}}
  - name: broken
    provider: openai
    base_url: http://127.0.0.1:{mock}/broken/v1
    api_key: sk-soak
    models: [{broken}]
plugins:
{plugins}
"""

REFUSED, CUT = "mock-tokens-8-status-500", "mock-tokens-20-pace-20-cut-body-after-5"
# By name: mode and options of the load client, and what has to become of its requests.
LOADS = {
    "requests": ("requests", {"--connections": 64, "--rate": 1500, "--model": "mock-tokens-8-status-503-every-50"}, "answered"),
    "streams": ("streams", {"--connections": 500, "--ramp-ms": 2000, "--tokens": 50, "--cancel-every": 20,
                            "--model": "mock-tokens-50-pace-40-status-503-every-50"}, "answered"),
    "refused": ("requests", {"--connections": 4, "--rate": 50, "--close-each": 1, "--model": REFUSED}, "refused"),
    "cut": ("streams", {"--connections": 20, "--ramp-ms": 300, "--tokens": 20, "--model": CUT}, "broken off"),
}  # fmt: skip


class Config:
    """The file, and its changes: words and limits differ each time, targets stay."""

    def __init__(self, folder, mock, bus):
        self.path = os.path.join(folder, "soak.yaml")
        self.values = {"bus": bus, "home": folder, "mock": mock, "broken": f"{REFUSED}, {CUT}"}
        self.version = 0

    def write(self):
        self.version += 1
        plugins = [PLUGINS[part] for part in EVERYTHING if part in PLUGINS]
        text = "\n".join(f"  - {plugin}" for plugin in plugins)
        text = text.replace(WORDS, f"{WORDS}, changed{self.version}")
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(CONFIG.format(plugins=text, **self.values))
        os.replace(self.path + ".new", self.path)


class Events:
    """Hears every event: how many, whether one is missing, and how long after its request ended it came."""

    LATE_S = 1.0

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.count = self.missing = self.late = 0
        self.most_s = 0.0
        self.last = {}
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            event = event.get("body", event)
            self.follow(event)
            if event.get("topic", "").startswith("gateway.request."):
                self.count += 1
                lag = time.time() - event["timestamp_us"] / 1e6
                self.most_s = max(self.most_s, lag)
                self.late += lag > self.LATE_S

    def follow(self, event):
        """Numbers go up by one over all topics of a publisher."""
        source = (event.get("node"), event.get("epoch"))
        expected = self.last.get(source, event["sequence"] - 1) + 1
        self.missing += max(0, event["sequence"] - expected)
        self.last[source] = max(event["sequence"], expected - 1)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.thread.join(5)


def metric(server, name):
    """The series of one metric, labels and value."""
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/metrics", headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)}


def warnings(path):
    """What the gateway has complained of, and how often; what its upstream was told to do wrong is left out."""
    found = collections.Counter()
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            entry = json.loads(line) if line.startswith("{") else {}
            if entry.get("level") in ("warn", "error") and entry["event"] not in ("provider.failed", "config.warning"):
                found[": ".join(entry[key] for key in ("event", "msg", "why") if entry.get(key))] += 1
    return dict(found.most_common(10))


def sampled(server, began):
    return {"at_s": round(time.monotonic() - began, 1), "rss_kib": rss_kib(server.pid),
            "descriptors": open_files(server.pid), "threads": threads(server.pid)}  # fmt: skip


def start_load(load, server, seconds):
    """A client for each kind of load, each for the whole time."""
    clients = {}
    for name, (mode, options, _) in LOADS.items():
        every = {"--seconds": seconds, "--warmup": 0, "--key": KEY, **options}
        words = [str(word) for pair in every.items() for word in pair]
        clients[name] = subprocess.Popen([load, mode, server.url, *words], stdout=subprocess.PIPE, text=True)
    return clients


def watch(server, config, clients, began, seconds):
    """Until every client has ended: samples, and a changed configuration from time to time."""
    samples, reload_at = [], began + RELOAD_S
    while any(client.poll() is None for client in clients.values()):
        time.sleep(SAMPLE_S)
        if server.process.poll() is not None:
            raise SystemExit(f"soak: the gateway ended with {server.process.returncode}; see {server.log_path}")
        now = time.monotonic()
        if now >= reload_at and now < began + seconds:
            config.write()
            if config.version % 2 == 0:
                server.process.send_signal(signal.SIGHUP)
            reload_at = now + RELOAD_S
        if now < began + seconds:
            samples.append(sampled(server, began))
        if now > began + seconds + 60:
            raise SystemExit("soak: a load client does not end")
        show(samples, seconds)
    return samples


def show(samples, seconds):
    if sys.stderr.isatty() and samples:
        last = samples[-1]
        print(f"\r  {last['at_s']:.0f} of {seconds:.0f} s: {last['rss_kib'] / 1024:.1f} MiB, {last['descriptors']} descriptors, "
              f"{last['threads']} threads  ", end="", file=sys.stderr, flush=True)  # fmt: skip


def run(options, folder, seconds):
    load = build_load(os.path.join(ROOT, "build/bench"))
    running = []
    try:
        port = free_port()
        mock = Server("mock", [options.gateway, "mock", "--listen", f"127.0.0.1:{port}"], port, os.path.join(folder, "mock.log"))
        running.append(mock)
        bus = f"tcp://127.0.0.1:{bus_port()}"
        config = Config(folder, mock.port, bus)
        config.write()
        port = free_port()
        command = [options.gateway, "serve", "--config", config.path, "--listen", f"127.0.0.1:{port}", "--cells", "1"]
        log = os.path.join(folder, "gateway.log")
        server = Server("gateway", command, port, log, env={"MASTER_KEY": KEY, "LOG_LEVEL": "warn", "LOG_FORMAT": "json"})
        running.append(server)
        events = Events([options.gateway, "tail", "--bus", bus, "--api-key", KEY])
        running.append(events)
        time.sleep(1)
        began = time.monotonic()
        before = sampled(server, began)
        others = bench_machine.Others()
        clients = start_load(load, server, seconds)
        running.extend(Client(client) for client in clients.values())
        samples = watch(server, config, clients, began, seconds)
        results = {name: json.loads(client.stdout.read()) for name, client in clients.items()}
        share = others.share()
        time.sleep(options.after)
        return {
            "seconds": seconds,
            "others": share,
            "before": before,
            "samples": samples,
            "after": sampled(server, began),
            "after_s": options.after,
            "clients": results,
            "expected": {name: LOADS[name][2] for name in LOADS},
            "reloads": {"written": config.version - 1, **metric(server, "gateway_config_reloads_total")},
            "events": {"heard": events.count, "missing": events.missing, "late": events.late, "most_s": events.most_s},
            "dropped": sum(metric(server, "gateway_hook_events_dropped_total").values()),
            "warnings": warnings(log),
            "rows": metric(server, "gateway_ledger_rows_total"),
        }
    finally:
        for one in reversed(running):
            one.stop()


class Client:
    """Ends a load client that is still there."""

    def __init__(self, process):
        self.process = process

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", nargs="?", type=float, default=20)
    parser.add_argument("--gateway", default=os.path.join(ROOT, "build/release/dynabus"), help="the binary to look at")
    parser.add_argument("--after", type=float, default=AFTER_S, help="seconds without load before the last look")
    options = parser.parse_args()
    bench_machine.descriptor_limit()
    folder = os.path.join(ROOT, "build/bench/soak")
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    machine = bench_machine.facts(options.gateway)
    report = run(options, folder, options.minutes * 60)
    broken = judge(report)
    report.update({"machine": machine, "broken": broken})
    print("\n".join(["", *lines_of(report)]))
    for one in broken:
        print(f"BROKEN  {one}")
    with open(os.path.join(ROOT, "build/bench/soak.json"), "w", encoding="ascii") as file:
        json.dump(report, file, indent=1)
    bench_plot.write_soak(report, os.path.join(ROOT, "build/bench"))
    print("build/bench/soak.json, build/bench/soak-memory.svg")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
