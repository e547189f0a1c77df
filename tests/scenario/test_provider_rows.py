"""Every row of the table of providers, on the wire: the path below its root, how it is told who asks, what it
changes in a body, and one error as that provider writes it. What is expected is in provider_rows.json."""

import json
import pathlib
import re

import pytest

from harness.gateway import Gateway, UPSTREAM_KEY, run_to_end
from harness.http import Connection
from harness.upstream import Upstream, completion

ROWS = json.loads((pathlib.Path(__file__).parent / "provider_rows.json").read_text())
MESSAGES = [{"role": "user", "content": "hi"}]


def row_target(name, url):
    row = ROWS[name]
    target = {"name": name, "provider": name, "models": ["model-of-" + name],
              "base_url": url if row["base_url_is_host"] else url + row["root"]}
    if row["auth"] != "none":
        target["api_key"] = "${TEST_UPSTREAM_KEY}"
    return target


@pytest.fixture(scope="module")
def provider():
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def gateways(tmp_path_factory, provider):
    """One for each way to treat what a provider does not support; all rows are targets of each."""
    started = {}
    try:
        for mode in ("warn", "drop", "reject"):
            started[mode] = Gateway(tmp_path_factory.mktemp(mode), [row_target(name, provider.url) for name in ROWS],
                                    config={"compatibility": {"on_unsupported_param": mode}})
        for gateway in started.values():
            gateway.wait_ready()
        yield started
        for gateway in started.values():
            gateway.stop()
    finally:
        for gateway in started.values():
            gateway.kill()


def ask(gateway, name, **members):
    connection = Connection(gateway.port)
    try:
        body = {"model": "model-of-" + name, "messages": MESSAGES, **members}
        return connection.request("POST", "/v1/chat/completions", json.dumps(body).encode())
    finally:
        connection.close()


def serve_answers(provider):
    provider.reset_to(lambda request, exchange: exchange.json(completion()))


def test_every_row_is_here(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"targets": [{"provider": "nobody"}]}))
    code, text = run_to_end(["validate", path], tmp_path)
    known = re.search(r"known are: ([a-z0-9, -]+)", text).group(1).strip().split(", ")
    native = {"anthropic"}
    assert code != 0 and set(known) - native == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_path_credential_and_body(gateways, provider, name):
    row = ROWS[name]
    serve_answers(provider)
    answer = ask(gateways["warn"], name, **row["send"])
    assert answer.status == 200, answer.body
    [request] = provider.received()
    assert (request.method, request.path) == ("POST", row["root"] + "/chat/completions")
    assert request.header("authorization") == ("Bearer " + UPSTREAM_KEY if row["auth"] == "bearer" else None)
    assert request.header("api-key") == (UPSTREAM_KEY if row["auth"] == "api-key" else None)
    for header, value in row["headers"].items():
        assert request.header(header) == value
    assert request.json() == {"model": "model-of-" + name, "messages": MESSAGES, **row["sent"]}


@pytest.mark.parametrize("name", [name for name in ROWS if ROWS[name]["unsupported"]])
def test_what_it_does_not_support_is_dropped_or_refused(gateways, provider, name):
    row = ROWS[name]
    serve_answers(provider)
    assert ask(gateways["drop"], name, **row["send"]).status == 200
    left = {key: value for key, value in row["sent"].items() if key not in row["unsupported"]}
    assert provider.received()[0].json() == {"model": "model-of-" + name, "messages": MESSAGES, **left}
    refused = ask(gateways["reject"], name, **row["send"])
    error = refused.json()["error"]
    assert (refused.status, error["code"]) == (400, "unsupported_parameter")
    assert name in error["message"] and all(param in error["message"] for param in row["unsupported"])
    assert len(provider.received()) == 1


@pytest.mark.parametrize("name", ROWS)
def test_an_error_as_it_writes_them(gateways, provider, name):
    expected = ROWS[name]["error"]
    provider.reset_to(lambda request, exchange: exchange.json(expected["body"], status=expected["status"]))
    answer = ask(gateways["warn"], name)
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (expected["client_status"], expected["client_code"])
    if expected["client_text"] is not None:
        assert expected["client_text"] in error["message"]
    assert name not in error["message"] or expected["client_text"] is not None
