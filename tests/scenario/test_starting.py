"""`dynabus init` and `dynabus import`: a configuration to begin with, which validates and runs."""

import re

from harness.gateway import run_to_end
from harness.http import chat_once
from harness.process import HttpProcess, free_port
from harness.upstream import answer_normally

LITELLM = """\
model_list:
  - model_name: house
    litellm_params:
      model: openai/gpt-real
      api_base: os.environ/HOUSE_BASE
      api_key: os.environ/HOUSE_KEY
  - model_name: house
    litellm_params:
      model: hosted_vllm/llama
      api_base: {url}/v1
      temperature: 0
router_settings:
  num_retries: 1
  model_group_alias: {{"fast": "house"}}
"""


def serve(path, tmp_path, environment):
    port = free_port()
    process = HttpProcess(["serve", "--config", path, "--listen", f"127.0.0.1:{port}"], port, tmp_path / "serve.log",
                          "/readyz", environment=environment)
    process.wait_ready()
    return process, port


def test_init_runs(tmp_path, upstream):
    """A file with a target for each key that is there, without their values; never over one that is there."""
    keys = {"OPENAI_API_KEY": "sk-never-shown-0123456789", "OPENAI_BASE_URL": upstream.url, "GROQ_API_KEY": "gsk-nor-this"}
    path = tmp_path / "config.yaml"
    code, log = run_to_end(["init", "-o", path], tmp_path, environment=keys)
    assert code == 0 and "2 targets" in log
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "sk-never-shown" not in text and "gsk-nor-this" not in text
    assert re.findall(r"^  - provider: (\S+)", text, re.M) == ["openai", "groq"]
    assert run_to_end(["validate", path], tmp_path, environment=keys)[0] == 0
    process, port = serve(path, tmp_path, keys)
    try:
        answer = chat_once(port, {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]})
        assert (answer.status, answer.header("x-dynabus-target")) == (200, "openai")
        process.stop()
    finally:
        process.kill()
    path.write_text("mine")
    code, log = run_to_end(["init", "-o", path], tmp_path, environment=keys)
    assert code == 1 and "--force" in log and path.read_text() == "mine"
    assert run_to_end(["init", "--force", "-o", path], tmp_path, environment=keys)[0] == 0
    assert "targets:" in path.read_text()


def test_init_without_keys(tmp_path):
    code, log = run_to_end(["init"], tmp_path)
    assert code == 0
    assert "set OPENAI_API_KEY" in log and "- provider: openai" in log


def test_import_runs(tmp_path, upstream):
    theirs = tmp_path / "litellm.yaml"
    theirs.write_text(LITELLM.format(url=upstream.url))
    ours = tmp_path / "ours.yaml"
    code, log = run_to_end(["import", "litellm", theirs, "-o", ours], tmp_path)
    assert code == 0
    assert f"{theirs}:11: not carried over: litellm_params.temperature" in log
    assert "# line 11: litellm_params.temperature" in ours.read_text()
    environment = {"HOUSE_BASE": f"{upstream.url}/v1", "HOUSE_KEY": "k"}
    code, log = run_to_end(["validate", ours], tmp_path, environment=environment)
    assert code == 0, log
    upstream.reset_to(answer_normally)
    process, port = serve(ours, tmp_path, environment)
    try:
        for model in ("house", "fast"):
            answer = chat_once(port, {"model": model, "messages": [{"role": "user", "content": "x"}]})
            assert answer.status == 200, answer
        assert {request.json()["model"] for request in upstream.received()} <= {"gpt-real", "llama"}
        process.stop()
    finally:
        process.kill()


def test_import_of_something_else(tmp_path):
    theirs = tmp_path / "x.yaml"
    theirs.write_text("targets: []\n")
    code, log = run_to_end(["import", "litellm", theirs], tmp_path)
    assert code == 1 and "there is no model_list" in log
    code, log = run_to_end(["import", "litellm", tmp_path / "missing.yaml"], tmp_path)
    assert code == 1 and "No such file" in log
