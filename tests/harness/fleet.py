"""A gateway spread over processes: routers, providers and edges, on loopback. Names of members are like router-0."""

import json
import os
import shutil
import socket
import tempfile
import time

from harness.gateway import KEY_VARIABLE, UPSTREAM_KEY, target
from harness.http import request_once
from harness.process import INPROC, START_SECONDS, HttpProcess, Process, free_port

MASTER_KEY = "sk-fleet-master-0123456789abcdef"


def free_base():
    """A port with two more behind it, below those that the kernel gives to outgoing connections: nobody gets it
    while a router is dead."""
    while True:
        base = 15000 + int.from_bytes(os.urandom(2), "big") % 15000
        probes = []
        try:
            for port in range(base, base + 3):
                probes.append(socket.socket())
                probes[-1].bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()


class Fleet:
    """`routers` endpoints are in the configuration from the start; which of them run is up to the test."""

    def __init__(self, directory, upstream_url, routers=2, wire="tcp", curve=False, cells=1, is_open=False, **config):
        self.directory = directory
        self.is_open = is_open  # no key is asked for
        self.cells = cells
        self.sockets = tempfile.mkdtemp(prefix="dynabus-fleet-")  # names of Unix sockets have to be short
        if wire == "ipc":
            self.endpoints = [f"ipc://{self.sockets}/router-{i}" for i in range(routers)]
        else:
            self.endpoints = [f"tcp://127.0.0.1:{free_base()}" for _ in range(routers)]
        self.members = []
        self.keys = self.make_keys() if curve else None
        bus = {"routers": self.endpoints, **config.pop("bus", {})}
        if INPROC:
            bus["local"] = "inproc"
        if curve:
            bus["curve"] = {"cert": "${TEST_CERT}", "allowed": str(self.keys / "allowed"),
                            "servers": [str(self.keys / "router")]}
        self.config = directory / "fleet.yaml"
        self.config.write_text(json.dumps({"targets": [target(upstream_url)], "bus": bus, **config}, indent=2))

    def make_keys(self):
        """One certificate a role; a router lets in what lies in `allowed`."""
        allowed = self.directory / "keys" / "allowed"
        allowed.mkdir(parents=True)
        for role in ("router", "edge", "worker", "plugin", "ledger"):
            path = self.directory / "keys" / role
            process = Process(["keys", "new", "--role", role, path], self.directory / f"keys-{role}.log")
            assert process.wait_exit() == 0, process.log()
            if role != "router":
                shutil.copy(path, allowed / role)
        return self.directory / "keys"

    # ---- members ----

    def words(self, role, *arguments):
        return ["serve", "--roles", role, "--config", self.config, "--cells", self.cells, *arguments]

    def variables(self, role):
        variables = {"LOG_FORMAT": "json", KEY_VARIABLE: UPSTREAM_KEY}
        variables |= {"ALLOW_UNAUTHENTICATED_PROXY": "true"} if self.is_open else {"MASTER_KEY": MASTER_KEY}
        if self.keys is not None:
            variables["TEST_CERT"] = str(self.keys / {"provider": "worker"}.get(role, role))
        return variables

    def log_path(self, role):
        return self.directory / f"{role}-{len(self.members)}.log"

    def add(self, process):
        self.members.append(process)
        return process

    def router(self, index=0):
        words = self.words("router", "--bus", self.endpoints[index])
        return self.add(Process(words, self.log_path("router"), environment=self.variables("router")))

    def provider(self):
        return self.add(Process(self.words("provider"), self.log_path("provider"), environment=self.variables("provider")))

    def plugin(self):
        """Hosts what is configured with `place: plugin`."""
        return self.add(Process(self.words("plugin"), self.log_path("plugin"), environment=self.variables("plugin")))

    def workers_endpoint(self, index=0):
        """Where plugins and workers of other makers connect to a router."""
        host, port = self.endpoints[index].rsplit(":", 1)
        return f"{host}:{int(port) + 1}"

    def curve_of(self, role):
        """Paths of the secret of a peer of that role and of what is public of the router; None: nobody asks for keys."""
        return (self.keys / f"{role}_secret", self.keys / "router") if self.keys is not None else None

    def ledger(self):
        return self.add(Process(self.words("ledger"), self.log_path("ledger"), environment=self.variables("ledger")))

    def edge(self, *arguments, roles="edge"):
        port = free_port()
        words = self.words(roles, "--listen", f"127.0.0.1:{port}", *arguments)
        return self.add(HttpProcess(words, port, self.log_path("edge"), "/readyz", environment=self.variables("edge")))

    def start(self):
        """One of each; the edge when requests can be answered."""
        self.first_router = self.router(0)
        self.first_provider = self.provider()
        return self.edge().wait_ready()

    # ---- the end ----

    def stop(self):
        """Those that still run, edges first."""
        for process in reversed(self.members):
            if process.child.poll() is None:
                process.stop()
            process.assert_clean_log()

    def close(self):
        for process in self.members:
            process.kill()
        shutil.rmtree(self.sockets, ignore_errors=True)


def until(condition, what, seconds=START_SECONDS):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)

