"""What the documents tell a reader to type works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.gateway import UPSTREAM_KEY, run_to_end
from harness.http import chat_once
from harness.process import HttpProcess, free_port

ROOT = Path(__file__).resolve().parents[2]


def blocks(page, language=""):
    """Fenced code of that language."""
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    port = free_port()
    directory = tmp_path_factory.mktemp("dev")
    process = HttpProcess(["serve", "--dev", "--listen", f"127.0.0.1:{port}"], port, directory / "log", "/readyz")
    try:
        yield process.wait_ready()
        process.stop()
    finally:
        process.kill()


def here(text, gateway):
    assert "127.0.0.1:8080" in text
    return text.replace("127.0.0.1:8080", f"127.0.0.1:{gateway.port}")


def test_curl_of_the_readme(dev):
    command = next(block for block in blocks("README.md") if block.startswith("curl "))
    result = subprocess.run(["bash", "-c", here(command, dev)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and '"chat.completion"' in result.stdout, result


def test_python_of_the_readme(dev):
    (program,) = blocks("README.md", "python")
    result = subprocess.run([sys.executable, "-c", here(program, dev)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and result.stdout.strip(), result


def test_configuration_of_the_quickstart(tmp_path):
    (config,) = blocks("docs/quickstart.md", "yaml")
    path = tmp_path / "gateway.yaml"
    path.write_text(config)
    code, log = run_to_end(["validate", path], tmp_path, environment={"OPENAI_API_KEY": "sk-0123456789abcdef"})
    assert code == 0, log


def test_configurations_of_the_page_about_routing(tmp_path):
    """Each mode has a section with an example that is valid and of that mode."""
    text = (ROOT / "docs/routing.md").read_text()
    rows = (ROOT / "router/strategies/strategies.def").read_text()
    path = tmp_path / "gateway.yaml"
    keys = {"OPENAI_API_KEY": "sk-0123456789abcdef", "GROQ_API_KEY": "gsk-0123456789abcdef"}
    for mode in re.findall(r'^ROUTE_STRATEGY\(\w+, +\w+, +"([a-z-]+)"', rows, re.M):
        section = text.split(f"\n### {mode}\n", 1)[1].split("\n## ")[0].split("\n### ")[0]
        assert f"mode: {mode}\n" in section
    for config in blocks("docs/routing.md", "yaml"):
        path.write_text(config)
        code, log = run_to_end(["validate", path], tmp_path, environment=keys)
        assert code == 0, config + log


def test_every_key_of_the_reference_is_known(tmp_path):
    """The page names the keys that the loader takes: each top-level one is accepted as known."""
    keys = re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs/configuration.md").read_text(), re.M)
    assert "targets" in keys and "sse_keepalive" in keys
    path = tmp_path / "config.yaml"
    for key in keys:
        path.write_text(f"{key}: null\n")
        _, log = run_to_end(["validate", path], tmp_path)
        assert "unknown key" not in log, log


def test_a_ferro_configuration_runs_unchanged(tmp_path, module_upstream):
    """Its keys, its environment names, its path variable."""
    path = tmp_path / "config.yaml"
    path.write_text("strategy:\n  mode: single\ntargets:\n  - virtual_key: openai\n")
    port = free_port()
    environment = {"GATEWAY_CONFIG": str(path), "OPENAI_API_KEY": UPSTREAM_KEY, "OPENAI_BASE_URL": module_upstream.url,
                   "PORT": str(port), "MASTER_KEY": "master", "LOG_FORMAT": "json"}
    process = HttpProcess(["serve"], port, tmp_path / "log", "/readyz", environment=environment)
    try:
        process.wait_ready()
        answer = chat_once(port, {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]},
                           {"Authorization": "Bearer master"})
        assert answer.status == 200
        assert answer.header("x-dynabus-target") == "openai"
        sent = module_upstream.received()[-1]
        assert sent.path == "/v1/chat/completions"
        assert sent.header("authorization") == f"Bearer {UPSTREAM_KEY}"
        process.stop()
    finally:
        process.kill()
