"""The processes of a run: the mock, and a gateway spread over edges, routers and providers on tcp with CURVE keys.

A member is one process in its place (edge-0, router-1, provider-3): it is started, killed, stopped, replaced. It counts as
ready when it says so itself (READY=1 to NOTIFY_SOCKET, as to systemd).
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

from harness.http import request_once
from harness.process import SANITIZER_WORDS, Process

MASTER_KEY = "sk-chaos-master-0123456789abcdef"
MODEL_TARGET = "mock"
READY_SECONDS = 10
EXIT_SECONDS = 20  # a drain, and more
JOURNAL_CALLS = 1 << 17  # minutes of load


class Broken(Exception):
    """The run cannot go on; says why."""


def free_base():
    """A loopback port with two more behind it, for the clients, workers and events of a router. Below the range from
    which the kernel takes the ports of outgoing connections: nobody gets it while a router is dead."""
    while True:
        base = 15000 + int.from_bytes(os.urandom(2), "big") % 15000
        probes = []
        try:
            for port in range(base, base + 3):
                probe = socket.socket()
                probes.append(probe)
                probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()


def free_port():
    return free_base()


class Network:
    """Where processes run. All on loopback; network.py has the other one."""

    def host_of(self, name):
        return "127.0.0.1"

    def mock_host(self, name):
        """Address of the mock as that member sees it."""
        return "127.0.0.1"

    mock_listen_host = "127.0.0.1"
    mock_port = 0

    def prefix(self, name):
        """Words before the command of that member."""
        return []

    def close(self):
        pass


class Member:
    def __init__(self, fleet, role, index, arguments, environment):
        self.fleet = fleet
        self.role = role
        self.name = f"{role}-{index}"
        self.arguments = arguments
        self.environment = environment
        self.process = None
        self.dying = None
        self.starts = 0
        self.ready = asyncio.Event()
        self.ready_at = None
        self.since = 0.0  # when it was last lost or hampered
        self.is_stopped = False
        self.generation = 0  # of edges: changes when one is killed
        self.host, self.port = "127.0.0.1", None

    @property
    def is_up(self):
        return self.process is not None and self.ready.is_set() and not self.is_stopped

    def up_seconds(self):
        return time.monotonic() - self.ready_at if self.is_up else 0.0

    # ---- starting ----

    def launch(self):
        """Starts a process and returns it with the event that it sets when it is ready."""
        self.starts += 1
        tag = f"{self.name}.{self.starts}"
        ready = asyncio.Event()
        path = self.fleet.listen_for(tag, ready)
        environment = {**self.environment, "NOTIFY_SOCKET": path, "LOG_FORMAT": "json", "LOG_LEVEL": self.fleet.log_level}
        process = Process(
            self.arguments,
            self.fleet.directory / f"{tag}.log",
            environment=environment,
            prefix=self.fleet.network.prefix(self.name),
        )
        self.fleet.processes.append((tag, process))
        return process, ready

    async def wait_for(self, process, ready, seconds=READY_SECONDS):
        deadline = time.monotonic() + seconds
        while not ready.is_set():
            if process.child.poll() is not None:
                raise Broken(f"{self.name} ended with {process.child.returncode} at its start:\n{process.log()[-1500:]}")
            if time.monotonic() > deadline:
                raise Broken(f"{self.name} is not ready after {seconds} s:\n{process.log()[-1500:]}")
            await asyncio.sleep(0.01)

    async def start(self):
        while self.dying is not None and self.dying.child.poll() is None:
            await asyncio.sleep(0.01)
        process, ready = self.launch()
        self.process, self.is_stopped = process, False
        await self.wait_for(process, ready)
        if self.process is process:
            self.ready = ready
            self.ready_at = time.monotonic()

    # ---- ending ----

    def kill(self):
        """SIGKILL. It takes the kernel a moment to end it: start() waits for that, so that its port is free."""
        process, self.process = self.process, None
        self.dying = process
        self.ready = asyncio.Event()
        self.since = time.monotonic()
        self.generation += 1
        process.killed = True
        process.child.kill()

    def pause(self):
        self.is_stopped = True
        self.since = time.monotonic()
        self.process.signal(signal.SIGSTOP)

    def resume(self):
        self.process.signal(signal.SIGCONT)
        self.is_stopped = False
        self.ready_at = time.monotonic()

    async def replace(self):
        """The new process is ready before the old one is told to end. Returns how long the old one took to end."""
        process, ready = self.launch()
        await self.wait_for(process, ready)
        old, self.process, self.ready, self.ready_at = self.process, process, ready, time.monotonic()
        return await self.fleet.end(old, self.name)


class Fleet:
    def __init__(self, directory, network, seed, log_level="info", cells=1):
        self.directory = Path(directory)
        self.network = network
        self.seed = seed
        self.log_level = log_level
        self.cells = cells  # of each process
        self.sockets = tempfile.mkdtemp(prefix="dynabus-chaos-")  # names of Unix sockets have to be short
        self.processes = []  # (name, process), all that were ever started
        self.listeners = []
        self.edges, self.routers, self.providers = [], [], []
        self.mock = None
        self.mock_port = network.mock_port = free_port()

    # ---- readiness ----

    def listen_for(self, tag, ready):
        path = os.path.join(self.sockets, tag)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        listener.bind(path)
        loop = asyncio.get_running_loop()

        def read():
            try:
                if b"READY=1" in listener.recv(4096).split(b"\n"):
                    ready.set()
            except BlockingIOError:
                pass

        loop.add_reader(listener, read)
        self.listeners.append(listener)
        return path

    # ---- what is written down ----

    def make_keys(self):
        """One certificate a role; a router lets in what lies in `allowed`."""
        keys = self.directory / "keys"
        shutil.rmtree(keys, ignore_errors=True)
        allowed = keys / "allowed"
        allowed.mkdir(parents=True)
        for role in ("router", "edge", "worker"):
            command = ["keys", "new", "--role", role, keys / role]
            process = Process(command, self.directory / f"keys-{role}.log")
            if process.wait_exit(10) != 0:
                raise Broken(f"`dynabus keys new` failed:\n{process.log()}")
            if role != "router":
                shutil.copy(keys / role, allowed / role)
        return keys

    def write_config(self, keys, endpoints):
        config = {
            "targets": [
                {
                    "name": MODEL_TARGET,
                    "provider": "openai",
                    "base_url": "${CHAOS_UPSTREAM}/v1",
                    "api_key": "${CHAOS_UPSTREAM_KEY}",
                }
            ],
            "bus": {
                "routers": endpoints,
                "curve": {"cert": "${CHAOS_CERT}", "allowed": str(keys / "allowed"), "servers": [str(keys / "router")]},
            },
        }
        path = self.directory / "config.yaml"
        path.write_text(json.dumps(config, indent=2))
        return path

    # ---- members ----

    def member(self, role, index, config, keys, *arguments):
        name = f"{role}-{index}"
        cert = {"provider": "worker"}.get(role, role)
        environment = {
            "MASTER_KEY": MASTER_KEY,
            "CHAOS_UPSTREAM": f"http://{self.network.mock_host(name)}:{self.mock_port}/{name}",
            "CHAOS_UPSTREAM_KEY": "sk-chaos-upstream",
            "CHAOS_CERT": str(keys / cert),
        }
        words = ["serve", "--roles", role, "--config", config, "--cells", self.cells, *arguments]
        return Member(self, role, index, words, environment)

    def prepare(self, edges, routers, providers, spare_routers=False):
        """`spare_routers`: each router has a second endpoint, for its successor while it still lives."""
        self.directory.mkdir(parents=True, exist_ok=True)
        keys = self.make_keys()
        bases = [[self.new_base(f"router-{i}") for _ in range(2 if spare_routers else 1)] for i in range(routers)]
        config = self.write_config(keys, [base for pair in bases for base in pair])
        for index in range(routers):
            router = self.member("router", index, config, keys, "--bus", bases[index][0])
            router.endpoints = bases[index]
            self.routers.append(router)
        for index in range(providers):
            self.providers.append(self.member("provider", index, config, keys))
        for index in range(edges):
            port = free_port()
            edge = self.member("edge", index, config, keys, "--listen", f"127.0.0.1:{port}", "--reuse-port")
            edge.port = port
            self.edges.append(edge)

    def new_base(self, name):
        return f"tcp://{self.network.host_of(name)}:{free_base()}"

    def prepare_one_process(self, count=1):
        """Without roles: each edge is a whole gateway. To try the load client."""
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "config.yaml"
        target = {"name": MODEL_TARGET, "provider": "openai", "base_url": "${CHAOS_UPSTREAM}/v1", "api_key": "sk"}
        config.write_text(json.dumps({"targets": [target]}))
        for index in range(count):
            edge = self.member("edge", index, config, self.directory)
            edge.port = free_port()
            edge.arguments = ["serve", "--config", config, "--listen", f"127.0.0.1:{edge.port}", "--reuse-port"]
            self.edges.append(edge)

    @property
    def members(self):
        return self.routers + self.providers + self.edges

    async def start(self):
        listen = f"{self.network.mock_listen_host}:{self.mock_port}"
        arguments = ["mock", "--listen", listen, "--seed", self.seed + 1, "--journal", JOURNAL_CALLS]
        self.mock = Process(arguments, self.directory / "mock.log")
        await self.until(self.mock_answers, "the mock answers")
        for member in self.members:
            member.process, ready = member.launch()
            member.first = ready
        for member in self.members:
            await member.wait_for(member.process, member.first)
            member.ready, member.ready_at = member.first, time.monotonic()

    def mock_answers(self):
        try:
            return request_once(self.mock_port, "GET", "/mock/stats").status == 200
        except (OSError, ValueError):
            return False

    async def until(self, condition, what, seconds=READY_SECONDS):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise Broken(f"not within {seconds} s: {what}")
            await asyncio.sleep(0.02)

    async def end(self, process, name):
        """SIGTERM, and how long it took; a process that does not end well is a broken promise."""
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        process.told = True
        while process.child.poll() is None:
            if time.monotonic() - began > EXIT_SECONDS:
                raise Broken(f"{name} has not ended {EXIT_SECONDS} s after SIGTERM:\n{process.log()[-1500:]}")
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    # ---- what routers had ----

    def log_ends(self):
        """Where the logs of the edges end now, for held_by_lost_router."""
        return {edge.name: (edge.process.log_path, edge.process.log_path.stat().st_size) for edge in self.edges if edge.process}

    def held_by_lost_router(self, log_ends):
        """An edge logs how many requests it had at a router that is gone. The first of these lines behind `log_ends`,
        summed over the edges; None: no edge has missed one yet."""
        found = []
        for path, end in log_ends.values():
            with open(path, "rb") as log:
                log.seek(end)
                lines = [json.loads(line) for line in log if b'"owner.router.gone"' in line and line.endswith(b"\n")]
            found += [line["requests"] for line in lines if line["reason"] != "drain"][:1]
        return sum(found) if found else None

    # ---- what must not have happened ----

    def died_by_themselves(self):
        found = []
        for name, process in self.processes:
            code = process.child.poll()
            if getattr(process, "killed", False) or code is None:
                continue
            if code != 0 or not getattr(process, "told", False):
                found.append(f"{name} ended with {code}, see {process.log_path}")
        return found

    def sanitizer_reports(self):
        return [
            f"{name}: a sanitizer's report in {process.log_path}"
            for name, process in self.processes
            if any(word in process.log() for word in SANITIZER_WORDS)
        ]

    # ---- the end of everything ----

    async def stop(self, seconds):
        """All at once, as an operator would. Who does not end in time is killed and named."""
        living = [(member.name, member.process) for member in self.members if member.process is not None]
        for member in self.members:
            if member.process is not None and member.is_stopped:
                member.resume()
        for _, process in living:
            if process.child.poll() is None:
                process.signal(signal.SIGTERM)
                process.told = True
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(process.child.poll() is None for _, process in living):
            await asyncio.sleep(0.05)
        return [name for name, process in living if process.child.poll() is None]

    def close(self):
        for _, process in self.processes:
            process.kill()
        if self.mock is not None:
            self.mock.kill()
        for listener in self.listeners:
            listener.close()
        shutil.rmtree(self.sockets, ignore_errors=True)
        self.network.close()
