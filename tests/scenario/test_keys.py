"""Keys of the bus as an operator uses them: what docs/secure-the-bus.md tells to type, keys that come, go and are
replaced while everybody is connected, and what is said when one is missing."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from harness.fleet import MASTER_KEY, Fleet, free_base, until
from harness.gateway import run_to_end, target, write_config
from harness.http import request_once
from harness.process import BINARY, HttpProcess, Process, clean_environment, free_port
from harness.upstream import Upstream

PAGE = (Path(__file__).resolve().parents[2] / "docs/secure-the-bus.md").read_text()
GOOD = json.dumps({"model": "test-model", "messages": [{"role": "user", "content": "x"}]}).encode()
AUTH = {"Authorization": f"Bearer {MASTER_KEY}"}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


class Shell:
    """A directory in which the page's commands are typed, and what is started there."""

    def __init__(self, directory):
        self.directory = directory
        self.ports = {"7400": str(free_base()), "8080": str(free_port()), "9090": str(free_port())}

    def here(self, text):
        for port, ours in self.ports.items():
            text = text.replace(f":{port}", f":{ours}")
        return text

    def type(self, text):
        bin_path = self.directory / "bin"
        bin_path.mkdir(exist_ok=True)
        if not (bin_path / "dynabus").exists():
            (bin_path / "dynabus").symlink_to(os.path.abspath(BINARY))
        environment = clean_environment({"PATH": f"{bin_path}:{os.environ['PATH']}"})
        return subprocess.run(["bash", "-ec", self.here(text)], cwd=self.directory, env=environment, timeout=60,
                              capture_output=True, text=True)


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


def test_what_the_page_tells_to_type(shell):
    make, start, ask, revoke = blocks("sh")
    gateway_yaml, edge_yaml = blocks("yaml")
    made = shell.type(make)
    assert made.returncode == 0 and "role    client" in made.stdout, made
    for name in ("router", "edge", "worker", "anna"):
        assert (shell.directory / f"keys/{name}_secret").stat().st_mode & 0o777 == 0o600

    (shell.directory / "gateway.yaml").write_text(shell.here(gateway_yaml))
    words = [line.rstrip(" &").split()[1:] for line in shell.here(start).splitlines() if line.startswith("dynabus ")]
    variables = {"MASTER_KEY": "change-me", "MOCK_API_KEY": "unused", "LOG_FORMAT": "json"}
    mock = HttpProcess(words[0], int(shell.ports["9090"]), shell.directory / "mock.log", "/mock/stats")
    gateway = HttpProcess(words[1], int(shell.ports["8080"]), shell.directory / "gateway.log", "/readyz",
                          environment=variables)
    try:
        mock.wait_ready()
        gateway.wait_ready()
        answered = shell.type(ask)
        assert answered.returncode == 0 and answered.stdout.strip(), answered
        assert revoke.splitlines()[1] == "pkill -HUP -x dynabus"
        assert shell.type(revoke.splitlines()[0]).returncode == 0
        gateway.signal(signal.SIGHUP)
        gateway.wait_until(lambda: gateway.log_lines(event="gateway.reload"), "reloaded")
        refused = shell.type("timeout 20 " + ask)
        assert refused.returncode != 0 and not refused.stdout.strip(), refused
        gateway.wait_until(lambda: gateway.log_lines(event="bus.key_refused"), "logged")
        gateway.stop()
        mock.stop()
    finally:
        gateway.kill()
        mock.kill()

    path = shell.directory / "edge.yaml"
    path.write_text(edge_yaml)
    code, log = run_to_end(["validate", path], shell.directory)
    assert code == 0, log


def test_what_is_said_without_a_key(tmp_path):
    (sentence,) = blocks("text")
    path = write_config(tmp_path / "config.yaml", [target("http://127.0.0.1:9")], bus={"listen": "tcp://0.0.0.0:7400"})
    code, log = run_to_end(["serve", "--config", path, "--listen", "127.0.0.1:0"], tmp_path,
                           environment={"TEST_UPSTREAM_KEY": "sk-0123456789abcdef", "MASTER_KEY": "change-me"})
    assert code == 1 and sentence.strip() in log, log


# ---- a fleet whose keys change ----


@pytest.fixture
def fleet(tmp_path):
    upstream = Upstream()
    fleet = Fleet(tmp_path, upstream.url, routers=1, curve=True)
    try:
        yield fleet
        fleet.stop()
    finally:
        fleet.close()
        upstream.close()


def is_answered(edge):
    return request_once(edge.port, "POST", "/v1/chat/completions", GOOD, AUTH).status == 200


def test_a_connected_edge_is_told_to_go_and_let_in_again(fleet):
    edge = fleet.start()
    assert is_answered(edge)
    allowed = fleet.keys / "allowed" / "edge"
    allowed.unlink()
    fleet.first_router.signal(signal.SIGHUP)
    until(lambda: request_once(edge.port, "GET", "/readyz").status == 503, "cut off")
    shutil.copy(fleet.keys / "edge", allowed)
    fleet.first_router.signal(signal.SIGHUP)
    until(lambda: is_answered(edge), "let in again")


def test_a_broken_file_changes_nothing(fleet):
    edge = fleet.start()
    (fleet.keys / "allowed" / "edge").unlink()
    (fleet.keys / "allowed" / "README").write_text("keys go here\n")
    fleet.first_router.signal(signal.SIGHUP)
    router = fleet.first_router
    router.wait_until(lambda: router.log_lines(event="gateway.reload", level="error"), "refused")
    assert "README" in router.log_lines(event="gateway.reload")[0]["reason"]
    assert is_answered(edge)


def test_routers_get_new_keys_without_a_stop(fleet):
    """Edge and provider know the old and the new key; then the router comes back with the new one."""
    new = fleet.keys / "router-new"
    process = Process(["keys", "new", "--role", "router", new], fleet.directory / "keys-new.log")
    assert process.wait_exit() == 0
    config = json.loads(fleet.config.read_text())
    config["bus"]["curve"]["servers"] = [str(fleet.keys / "router"), str(new)]
    fleet.config.write_text(json.dumps(config))
    edge = fleet.start()
    assert is_answered(edge)
    fleet.first_router.stop()
    variables = {**fleet.variables("router"), "TEST_CERT": str(new)}
    fleet.add(Process(fleet.words("router", "--bus", fleet.endpoints[0]), fleet.log_path("router"), environment=variables))
    until(lambda: is_answered(edge), "answered by the router with the new key")


def test_a_key_that_belongs_to_another_role(fleet):
    """An edge with a worker's key is not served, and others are not harmed."""
    edge = fleet.start()
    variables = {**fleet.variables("edge"), "TEST_CERT": str(fleet.keys / "worker")}
    port = free_port()
    impostor = fleet.add(HttpProcess(fleet.words("edge", "--listen", f"127.0.0.1:{port}"), port, fleet.log_path("edge"),
                                     "/readyz", environment=variables))
    until(lambda: fleet.first_router.log_lines(event="bus.refused", reason="role"), "refused")
    until(lambda: impostor_status(port) == 503, "not ready")
    assert is_answered(edge)
    impostor.stop()


def impostor_status(port):
    try:
        return request_once(port, "GET", "/readyz").status
    except OSError:
        return None
