"""The example on the page of each built-in plugin is valid, runs as it stands there, and does what the page says."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from harness.gateway import run_to_end
from harness.http import request_once
from harness.process import BINARY, HttpProcess, free_port
from harness.upstream import DONE, chunk_event, completion

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples/plugins/built-in"
PROVIDER_KEY = "sk-0123456789abcdef0123456789abcdef"
MASTER = "sk-master-of-examples"
MODEL = "gpt-4o-mini"


def names():
    """Of the table in the code: a new row is a new test, which fails without a page, an example and an effect."""
    printed = subprocess.run([BINARY, "reference", "plugins"], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\| \[([a-z-]+)\]", printed, re.M)
    rows = re.findall(r"^PLUGIN\((\w+)\)", (ROOT / "actors/plugins/plugins.def").read_text(), re.M)
    assert [name.replace("-", "_") for name in found] == rows
    return found


class Example:
    def __init__(self, name, directory, upstream):
        environment = {"OPENAI_API_KEY": PROVIDER_KEY, "OPENAI_BASE_URL": upstream.url + "/v1", "MASTER_KEY": MASTER,
                       "LOG_FORMAT": "json"}
        self.path = EXAMPLES / f"{name}.yaml"
        self.upstream = upstream
        code, log = run_to_end(["validate", self.path], directory, environment=environment)
        assert code == 0 and "warning" not in log, log
        self.port = free_port()
        self.gateway = HttpProcess(["serve", "--config", self.path, "--listen", f"127.0.0.1:{self.port}", "--cells", "2"],
                                   self.port, directory / "gateway.log", "/readyz", environment=environment)

    def post(self, text="hi", **more):
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}
        return request_once(self.port, "POST", "/v1/chat/completions", json.dumps(body).encode(),
                            {"Authorization": f"Bearer {MASTER}"})

    def get(self, path):
        return request_once(self.port, "GET", path, headers={"Authorization": f"Bearer {MASTER}"})


@pytest.fixture
def example(request, tmp_path, upstream):
    made = Example(request.param, tmp_path, upstream)
    try:
        made.gateway.wait_ready()
        yield made
        made.gateway.stop()
    finally:
        made.gateway.kill()


def code_of(answer):
    return answer.status, answer.json()["error"]["code"]


def see_max_token(example):
    assert example.post(max_tokens=1000).status == 200
    answer = example.post(max_tokens=1001)
    assert code_of(answer) == (400, "request_rejected") and "1001 exceeds the limit of 1000" in answer.error["message"]
    assert example.post(messages=[{"role": "user", "content": "x"}] * 51).status == 400
    assert example.post("x" * 100001).status == 400
    assert len(example.upstream.received()) == 1


def see_rate_limit(example):
    answers = [example.post() for _ in range(160)]
    refused = [answer for answer in answers if answer.status == 429]
    assert answers[0].header("x-ratelimit-limit-requests") == "120"
    assert 0 < len(refused) <= 40 and all(answer.status in (200, 429) for answer in answers)
    assert code_of(refused[0]) == (429, "rate_limit_exceeded") and int(refused[0].header("retry-after")) >= 1


def see_budget(example):
    assert example.post(max_tokens=100).status == 200
    answer = example.post(max_tokens=100_000_000)  # at any price of the catalogue more than a day's 5 dollars
    assert code_of(answer) == (402, "insufficient_quota")
    assert example.post(max_tokens=100).status == 200
    assert len(example.upstream.received()) == 2


def see_word_filter(example):
    assert example.post("all is well").status == 200
    assert code_of(example.post("this is Forbidden")) == (400, "request_rejected")
    assert example.post("unforbidden").status == 200  # whole words
    assert example.post("4111-1111-1111-1111").status == 400
    example.upstream.reset_to(lambda request, exchange: exchange.json(completion("not this phrase, please")))
    assert code_of(example.post()) == (502, "response_rejected")

    def stream(request, exchange):
        exchange.stream([chunk_event("so far "), chunk_event("for"), chunk_event("bidden"), chunk_event(None, "stop"), DONE])

    example.upstream.reset_to(stream)
    answer = example.post(stream=True)
    assert answer.status == 200 and b"so far" in answer.body
    assert b"bidden" not in answer.body and b"[DONE]" not in answer.body


def see_response_cache(example):
    first, second, other = example.post("a"), example.post("a"), example.post("b")
    assert [answer.header("x-dynabus-cache") for answer in (first, second, other)] == ["miss", "hit", "miss"]
    assert second.json()["choices"] == first.json()["choices"]
    assert len(example.upstream.received()) == 2


def see_request_logger(example):
    assert example.post("what do you say of sk-proj-abcdefghijklmnopqrstuvwx0123").status == 200

    def rows():
        answer = example.get("/admin/logs?stage=all&bodies=true")
        assert answer.status == 200, answer.body
        return next(value for value in answer.json().values() if isinstance(value, list))

    example.gateway.wait_until(lambda: len(rows()) >= 2, "the rows")
    stages = {row["stage"]: row for row in rows()}
    assert set(stages) == {"before_request", "after_request"}
    assert stages["after_request"]["model"] == MODEL
    text = json.dumps(rows())
    assert "what do you say of" in text and "sk-proj" not in text
    assert {line["stage"] for line in example.gateway.log_lines(event="request")} == set(stages)


EFFECTS = {name.removeprefix("see_").replace("_", "-"): value
           for name, value in list(globals().items()) if name.startswith("see_")}


@pytest.mark.parametrize("example", names(), indirect=True)
def test_the_example_of_the_page_does_what_the_page_says(example, request):
    EFFECTS[request.node.callspec.params["example"]](example)


@pytest.mark.parametrize("name", names())
def test_the_page_has_the_example_and_every_key(name):
    text = (ROOT / f"docs/plugins/{name}.md").read_text()
    assert (EXAMPLES / f"{name}.yaml").read_text() in text
    told = subprocess.run([BINARY, "reference", "plugins", name], capture_output=True, text=True, check=True).stdout
    keys = re.findall(r"^\| `(\w+)` \|", told.split("## Keys")[1], re.M)
    assert keys and [key for key in keys if f"| `{key}` |" not in text] == []


@pytest.mark.parametrize("name", names())
def test_every_configuration_of_the_page_is_valid(name, tmp_path):
    path = tmp_path / "gateway.yaml"
    text = (ROOT / f"docs/plugins/{name}.md").read_text()
    for config in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S):
        path.write_text(config)
        code, log = run_to_end(["validate", path], tmp_path, environment={"OPENAI_API_KEY": PROVIDER_KEY})
        assert code == 0, log


def test_there_is_no_page_of_nobody(tmp_path):
    code, log = run_to_end(["reference", "plugins", "nobody"], tmp_path)
    assert code == 2 and "reference" in log
