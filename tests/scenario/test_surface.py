"""Paths, methods, answer headers, trace ids: the HTTP face beside the chat itself."""

import json
import re

import pytest

from harness.http import build_request

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "test-model", "messages": [{"role": "user", "content": "x"}]}).encode()


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz"])
def test_probes_are_open(connect, path):
    answer = connect().request("GET", path)
    assert answer.status == 200
    assert answer.header("content-type").startswith("application/json")
    assert answer.json()["status"] in ("ok", "ready")


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/v1/models"])
def test_head_has_no_body(connect, path):
    connection = connect()
    answer = connection.request("HEAD", path)
    assert answer.status == 200
    # The next answer starts at once: no body was sent.
    assert connection.request("GET", "/livez").status == 200


def test_models(connect):
    answer = connect().request("GET", "/v1/models")
    assert answer.status == 200
    page = answer.json()
    assert page["object"] == "list"
    model = next(entry for entry in page["data"] if entry["id"] == "test-model")
    assert model["object"] == "model"
    assert isinstance(model["created"], int) and isinstance(model["owned_by"], str)


def test_one_model(connect):
    connection = connect()
    assert connection.request("GET", "/v1/models/test-model").json()["id"] == "test-model"
    answer = connection.request("GET", "/v1/models/no-such-model")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/v1", "/v1/chat", "/v1/chat/completions/x", "//health"])
def test_no_such_path(connect, path):
    connection = connect()
    answer = connection.request("GET", path)
    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert answer.error["type"] == "invalid_request_error"
    assert connection.request("GET", "/livez").status == 200


@pytest.mark.parametrize("method, path, allow", [
    ("GET", CHAT, {"POST"}),
    ("DELETE", CHAT, {"POST"}),
    ("POST", "/v1/models", {"GET", "HEAD"}),
    ("PUT", "/health", {"GET", "HEAD"}),
])
def test_wrong_method(connect, method, path, allow):
    connection = connect()
    answer = connection.request(method, path, b"{}" if method in ("POST", "PUT") else None)
    assert (answer.status, answer.error["code"]) == (405, "method_not_supported")
    assert {name.strip() for name in answer.header("allow").split(",")} == allow
    assert connection.request("GET", "/livez").status == 200


def test_unknown_method(connect):
    connection = connect()
    connection.send(build_request("BREW", "/v1/models"))
    answer = connection.read_answer()
    assert answer.status == 501
    assert answer.error["code"] == "method_not_supported"


@pytest.mark.parametrize("headers", [
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Encoding": "gzip"},
])
def test_unsupported_media(connect, upstream, headers):
    connection = connect()
    answer = connection.request("POST", CHAT, BODY, headers)
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    assert upstream.received() == []
    assert connection.chat(BODY).status == 200


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_media_types_that_are_json(connect, content_type):
    assert connect().request("POST", CHAT, BODY, {"Content-Type": content_type}).status == 200


def test_every_answer_has_id_and_security_headers(connect):
    connection = connect()
    for method, path, body in [("GET", "/livez", None), ("GET", "/nothing", None), ("POST", CHAT, BODY),
                               ("POST", CHAT, b"{"), ("GET", "/v1/models", None)]:
        answer = connection.request(method, path, body)
        assert re.fullmatch("[0-9a-f]{32}", answer.header("x-request-id")), (path, answer)
        assert answer.header("x-content-type-options") == "nosniff", (path, answer)


HEX = "ABCDEF0123456789abcdef0123456789"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("headers, expected", [
    ({"X-Request-ID": HEX}, HEX.lower()),
    ({"traceparent": PARENT}, PARENT.split("-")[1]),
    ({"traceparent": PARENT, "X-Request-ID": HEX}, PARENT.split("-")[1]),
    ({"traceparent": "00-zz", "X-Request-ID": HEX}, HEX.lower()),
])
def test_trace_id_is_taken(connect, headers, expected):
    assert connect().request("GET", "/v1/models", headers=headers).header("x-request-id") == expected


@pytest.mark.parametrize("value", [HEX[:31], HEX + "0", "0" * 32, "4bf92f35-77b3-4da6-a3ce-929d0e0e4736", "é" * 32])
def test_other_request_ids_are_replaced(connect, value):
    answer = connect().request("GET", "/v1/models", headers={"X-Request-ID": value})
    assert answer.header("x-request-id") != value.lower()
    assert re.fullmatch("[0-9a-f]{32}", answer.header("x-request-id"))


def test_traceparent_goes_on_to_the_provider(connect, upstream):
    assert connect().chat(BODY, {"traceparent": PARENT}).status == 200
    sent = upstream.received()[0].header("traceparent")
    assert sent.split("-")[1] == PARENT.split("-")[1]


def test_answer_names_its_way(connect):
    answer = connect().chat(BODY)
    assert answer.header("x-dynabus-provider") == "openai"
    assert answer.header("x-dynabus-target") == "upstream"
    assert answer.header("x-dynabus-attempts") == "1"
    assert int(answer.header("x-dynabus-overhead-us")) >= 0


def test_useful_upstream_headers_reach_the_client(connect, upstream):
    headers = [("x-ratelimit-remaining-requests", "17"), ("openai-processing-ms", "12"), ("x-request-id", "req_abc"),
               ("set-cookie", "secret=1"), ("server", "up")]
    upstream.reset_to(lambda request, exchange: exchange.json({"object": "chat.completion", "choices": []},
                                                              headers=headers))
    answer = connect().chat(BODY)
    assert answer.header("x-ratelimit-remaining-requests") == "17"
    assert answer.header("openai-processing-ms") == "12"
    assert answer.header("x-upstream-request-id") == "req_abc"
    assert re.fullmatch("[0-9a-f]{32}", answer.header("x-request-id"))
    assert answer.header("set-cookie") is None
    assert answer.header("server") != "up"


def test_the_clients_credential_stays_here(connect, upstream):
    """The provider gets its own key, never the client's."""
    assert connect().chat(BODY, {"Authorization": "Bearer client-secret", "Cookie": "a=b"}).status == 200
    sent = upstream.received()[0]
    assert sent.header("authorization") == "Bearer sk-upstream-secret-0123456789abcdef"
    assert "client-secret" not in str(sent.headers)
    assert sent.header("cookie") is None


def test_access_log_line(gateway, connect, upstream):
    trace = "11112222333344445555666677778888"
    assert connect().chat(BODY, {"X-Request-ID": trace}).status == 200
    gateway.wait_until(lambda: any("total_ms" in line for line in gateway.log_lines(trace_id=trace)), "logged")
    line = next(line for line in gateway.log_lines(trace_id=trace) if "total_ms" in line)
    assert line["status"] == 200
    assert line["model"] == "test-model"
    assert line["target"] == "upstream"
    assert line["attempts"] == 1
    for field in ("ttft_ms", "total_ms", "tokens_in", "tokens_out"):
        assert line[field] >= 0, line
    assert "sk-upstream-secret" not in gateway.log()
