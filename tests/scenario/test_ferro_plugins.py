"""Plugins as a configuration of Ferro's gateway writes them run here unchanged, and do what they do there. What is
accepted and means something else stands in docs/migrate/ferro.md."""

import base64
import json

import pytest

from harness.gateway import run_to_end
from harness.http import request_once
from harness.process import HttpProcess, free_port
from harness.upstream import completion

MASTER = "sk-master-of-ferro"
MODEL = "gpt-4o-mini"
HEAD = "strategy:\n  mode: single\ntargets:\n  - virtual_key: openai\n"


class World:
    def __init__(self, directory, upstream, plugins):
        self.path = directory / "config.yaml"
        self.path.write_text(HEAD + plugins)
        self.upstream = upstream
        self.port = free_port()
        environment = {"GATEWAY_CONFIG": str(self.path), "PORT": str(self.port), "MASTER_KEY": MASTER,
                       "OPENAI_API_KEY": "sk-0123456789abcdef", "OPENAI_BASE_URL": upstream.url + "/v1", "LOG_FORMAT": "json"}
        self.gateway = HttpProcess(["serve"], self.port, directory / "gateway.log", "/readyz", environment=environment)

    def post(self, text="hi", path="/v1/chat/completions", **more):
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}
        return request_once(self.port, "POST", path, json.dumps(body).encode(), {"Authorization": f"Bearer {MASTER}"})

    def answers(self, text, **usage):
        body = completion(text, model=MODEL)
        body["usage"].update(usage)
        self.upstream.reset_to(lambda request, exchange: exchange.json(body))


@pytest.fixture
def world(tmp_path, upstream):
    started = []

    def start(plugins):
        started.append(World(tmp_path, upstream, plugins))
        started[-1].gateway.wait_ready()
        return started[-1]

    try:
        yield start
        for one in started:
            one.gateway.stop()
    finally:
        for one in started:
            one.gateway.kill()


def refusal(answer):
    """Status, code, and whether the message names the plugin and the stage, as Ferro's does."""
    error = answer.json()["error"]
    return answer.status, error["code"], error["message"]


WORD_FILTER = """plugins:
  - name: word-filter
    type: guardrail
    stage: before_request
    enabled: true
    config:
      blocked_words: ["password", "secret"]
      case_sensitive: false
"""
WORD_FILTER_TWICE = WORD_FILTER + WORD_FILTER.split("plugins:\n")[1].replace("before_request", "after_request")


def test_word_filter_before(world):
    here = world(WORD_FILTER)
    assert here.post("hello").status == 200
    status, code, message = refusal(here.post("my PassWords are weak"))  # part of a word, any case
    assert (status, code) == (400, "request_rejected")
    assert "word-filter" in message and "before_request" in message and "request blocked by content policy" in message
    assert "password" not in message.lower()
    image = base64.b64encode(b"x" * 30).decode()
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + image}}]
    assert here.post(messages=[{"role": "user", "content": parts}]).status == 400  # nobody can look into it
    assert here.post(messages=[{"role": "system", "content": "a secret"}, {"role": "user", "content": "hi"}]).status == 400
    here.answers("the password is swordfish")
    assert here.post("hello").status == 200  # only before
    assert len(here.upstream.received()) == 1


def test_word_filter_at_both_stages(world):
    here = world(WORD_FILTER_TWICE)
    assert here.post("hello").status == 200
    here.answers("the password is swordfish")
    status, code, message = refusal(here.post("hello"))
    assert (status, code) == (502, "response_rejected") and "response blocked by content policy" in message
    assert "after_request" in message


def test_word_filter_whose_case_counts(world):
    here = world(WORD_FILTER.replace("case_sensitive: false", "case_sensitive: true"))
    assert here.post("my Password").status == 200
    assert here.post("my password").status == 400


def test_word_filter_without_words_does_nothing(world):
    here = world(WORD_FILTER.replace('["password", "secret"]', "[]"))
    assert here.post("my password").status == 200


MAX_TOKEN = """plugins:
  - name: max-token
    type: guardrail
    stage: before_request
    enabled: true
    config:
      max_tokens: 4096
      max_messages: 50
      max_input_length: 0
"""


def test_max_token(world):
    here = world(MAX_TOKEN)
    assert here.post(max_tokens=4096).status == 200
    assert here.post().status == 200  # none named: not bounded
    assert refusal(here.post(max_tokens=4097))[:2] == (400, "request_rejected")
    assert here.post(max_tokens=10, max_completion_tokens=9000).status == 400
    assert here.post(messages=[{"role": "user", "content": "x"}] * 50).status == 200
    assert here.post(messages=[{"role": "user", "content": "x"}] * 51).status == 400
    assert here.post("x" * 100_000).status == 200


def test_max_token_of_the_length(world):
    here = world(MAX_TOKEN.replace("max_input_length: 0", "max_input_length: 20").replace("4096", "0"))
    assert here.post("x" * 20, max_tokens=1_000_000).status == 200
    assert here.post("x" * 21).status == 400
    parts = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://example.com/" + "y" * 10}}]
    assert here.post(messages=[{"role": "user", "content": parts}]).status == 400  # addresses count


RESPONSE_CACHE = """plugins:
  - name: response-cache
    type: transform
    stage: before_request
    enabled: true
    config: {max_age: 300, max_entries: 1000}
  - name: response-cache
    type: transform
    stage: after_request
    enabled: true
    config: {max_age: 300, max_entries: 1000}
"""


def test_response_cache(world):
    here = world(RESPONSE_CACHE)
    first, second = here.post("same"), here.post("same")
    assert (first.status, second.status) == (200, 200) and first.json()["choices"] == second.json()["choices"]
    assert second.header("x-dynabus-provider") == "cache"
    assert len(here.upstream.received()) == 1
    for more in ({"temperature": 0.5}, {"seed": 0}, {"max_tokens": 9}, {"user": "u"}, {"tools": [
            {"type": "function", "function": {"name": "f", "parameters": {}}}]}):
        assert here.post("same", **more).header("x-dynabus-cache") == "miss", more
    assert len(here.upstream.received()) == 6


@pytest.mark.parametrize("key", ["max_age: 0", "max_age: 300.0, max_entries: 0"])
def test_response_cache_that_keeps_nothing(world, key):
    here = world(RESPONSE_CACHE.replace("max_age: 300, max_entries: 1000", key))
    assert [here.post("same").header("x-dynabus-cache") for _ in range(2)] == ["miss", "miss"]
    assert len(here.upstream.received()) == 2


REQUEST_LOGGER = "plugins:\n" + "".join(f"""  - name: request-logger
    type: logging
    stage: {stage}
    enabled: true
    config:
      level: info
      persist: false
      backend: sqlite
      dsn: ferrogw-requests.db
""" for stage in ("before_request", "after_request", "on_error"))


def test_request_logger(world, tmp_path):
    here = world(REQUEST_LOGGER)
    assert here.post().status == 200
    here.upstream.reset_to(lambda request, exchange: exchange.json({"error": {"message": "no"}}, status=400))
    assert here.post().status == 400
    here.gateway.wait_until(lambda: len(here.gateway.log_lines(event="request")) == 4, "two lines for each request")
    lines = here.gateway.log_lines(event="request")
    assert sorted(line["stage"] for line in lines) == ["after_request", "before_request", "before_request", "on_error"]
    assert len({line["trace_id"] for line in lines}) == 2
    assert not (tmp_path / "ferrogw-requests.db").exists()  # rows go to the gateway's own store


def test_request_logger_persists_where_a_store_is(world, tmp_path):
    here = world(REQUEST_LOGGER.replace("persist: false", "persist: true") + "store: {backend: sqlite, dsn: own.db}\n")
    assert here.post().status == 200

    def rows():
        answer = request_once(here.port, "GET", "/admin/logs?stage=all", headers={"Authorization": f"Bearer {MASTER}"})
        return next(value for value in answer.json().values() if isinstance(value, list))

    here.gateway.wait_until(lambda: len(rows()) == 2, "a row for each stage")
    assert {row["stage"] for row in rows()} == {"before_request", "after_request"}


def test_rate_limit(world):
    here = world("""plugins:
  - name: rate-limit
    type: ratelimit
    stage: before_request
    enabled: true
    config:
      requests_per_second: 0.1
      burst: 3
""")
    assert [here.post().status for _ in range(5)] == [200, 200, 200, 429, 429]
    answer = here.post()
    assert refusal(answer)[:2] == (429, "rate_limit_exceeded") and int(answer.header("retry-after")) >= 1


def test_rate_limit_of_keys_and_users(world):
    here = world("""plugins:
  - name: rate-limit
    type: ratelimit
    stage: before_request
    enabled: true
    config:
      requests_per_second: 100
      burst: 100
      key_rpm: 4
      user_rpm: 2
""")
    answers = [here.post(user=user) for user in ("a", "a", "a", "b", "b", "c")]
    assert [answer.status for answer in answers] == [200, 200, 429, 200, 200, 429]
    assert refusal(answers[2])[2] != refusal(answers[5])[2]  # the reason says which limit


BUDGET = "plugins:\n" + "".join(f"""  - name: budget
    type: ratelimit
    stage: {stage}
    enabled: true
    config:
      store_id: default
      spend_limit_usd: 1.0
      input_per_m_tokens: 1.0
      output_per_m_tokens: 2.0
      cache_read_per_m_tokens: 0.5
      max_keys: 10000
""" for stage in ("before_request", "after_request", "on_error"))


def test_budget(world):
    here = world(BUDGET)
    here.answers("x", prompt_tokens=400_000, completion_tokens=299_000, total_tokens=699_000)  # $0.998
    assert here.post(max_tokens=100).status == 200
    here.answers("x", prompt_tokens=100_000, completion_tokens=1, total_tokens=100_001)
    assert here.post(max_tokens=100).status == 200  # what is billed beyond what was asked is booked all the same
    status, code, message = refusal(here.post(max_tokens=100))
    assert (status, code) == (402, "insufficient_quota") and "budget" in message


def test_what_is_not_enabled_is_left_alone(world):
    """Guardrails of Ferro that are not built in stand in its example, not enabled."""
    here = world("plugins:\n" + "".join(f"""  - name: {name}
    type: guardrail
    stage: before_request
    enabled: false
    config: {{action: block, rules: [], entities: []}}
""" for name in ("pii-redact", "secret-scan", "prompt-shield", "schema-guard", "regex-guard")))
    assert here.post().status == 200


def validate(tmp_path, plugins):
    path = tmp_path / "config.yaml"
    path.write_text(HEAD + plugins)
    return run_to_end(["validate", path], tmp_path, environment={"OPENAI_API_KEY": "sk-0123456789abcdef"})


def test_one_of_ferro_that_is_not_built_in_is_named(tmp_path):
    code, log = validate(tmp_path, "plugins: [{name: pii-redact, type: guardrail, stage: before_request, enabled: true}]\n")
    assert code == 0 and "warning: 'pii-redact' is built in elsewhere" in log and "requests are refused" in log, log


def test_a_guardrail_that_streams_pass_by_is_told_of(tmp_path):
    code, log = validate(tmp_path, WORD_FILTER_TWICE)
    assert code == 0 and "looks at plain answers and not at streams" in log and log.count("warning") == 1, log
    code, log = validate(tmp_path, WORD_FILTER)  # at requests alone that is meant
    assert code == 0 and "warning" not in log, log
    code, log = validate(tmp_path, WORD_FILTER + WORD_FILTER.split("plugins:\n")[1].replace(
        "stage: before_request", "stages: [after_request, during_stream]"))
    assert code == 0 and "warning" not in log, log


@pytest.mark.parametrize("plugins,words", [
    (WORD_FILTER + WORD_FILTER.split("plugins:\n")[1].replace("before_request", "after_request").replace("secret", "other"),
     "configured otherwise"),
    (WORD_FILTER + WORD_FILTER.split("plugins:\n")[1], "stands at this stage already"),
    (BUDGET.replace("1.0\n      output_per_m_tokens: 2.0", "-1\n      output_per_m_tokens: 2.0"), "input_per_m_tokens"),
    ("plugins: [{name: rate-limit, enabled: true, stage: before_request, config: {key_rpm: 0}}]\n", "key_rpm"),
    ("plugins: [{name: rate-limit, enabled: true, stage: before_request, config: {requests_per_second: -1}}]\n",
     "requests_per_second"),
    ("plugins: [{name: word-filter, enabled: true, stage: before_requests, config: {}}]\n", "did you mean 'before_request'"),
])
def test_what_ferro_refuses_is_refused(tmp_path, plugins, words):
    code, log = validate(tmp_path, plugins)
    assert code == 1 and words in log, log
