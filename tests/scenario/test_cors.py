"""Web pages in browsers: which may use the gateway, and what a browser is told before it lets them."""

import pytest

from harness.gateway import UPSTREAM_KEY, run_to_end, target, write_config
from harness.http import request_once
from harness.process import HttpProcess, free_port

GOOD = b'{"model":"test-model","messages":[{"role":"user","content":"x"}]}'
PAGE = "https://chat.example"
OTHERS = ["https://chat.example.evil.example", "http://chat.example", "https://CHAT.example", "https://chat.example:443",
          "https://chat.exampl", "null", "*", ""]


@pytest.fixture
def open_to_page(start_gateway, upstream):
    return start_gateway([target(upstream.url)], config={"cors_origins": [PAGE, "http://localhost:3000"]},
                         environment={"MASTER_KEY": "secret"})


def preflight(gateway, origin=PAGE, path="/v1/chat/completions", **headers):
    return request_once(gateway.port, "OPTIONS", path, headers={
        "Origin": origin, "Access-Control-Request-Method": "POST", **headers})


def cors_headers(answer):
    return {name for name, _ in answer.headers if name.startswith("access-control-")}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/readyz", "/nowhere"])
def test_a_preflight_is_answered_before_any_credential(open_to_page, path):
    for origin in (PAGE, "http://localhost:3000"):
        answer = preflight(open_to_page, origin, path)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.header("access-control-allow-origin") == origin
        assert answer.header("access-control-allow-methods") == "GET, POST, PUT, DELETE, OPTIONS"
        assert answer.header("access-control-allow-headers") == "Content-Type, Authorization, X-Provider"
        assert answer.header("access-control-max-age") == "86400"
        assert answer.header("vary") == "Origin"
        assert answer.header("access-control-allow-credentials") is None


def test_a_page_may_send_the_headers_that_its_sdk_sends(open_to_page):
    answer = preflight(open_to_page, **{"Access-Control-Request-Headers": "authorization,x-stainless-lang"})
    allowed = [name.strip().lower() for name in answer.header("access-control-allow-headers").split(",")]
    assert {"authorization", "content-type", "x-provider", "x-stainless-lang"} <= set(allowed)
    for strange in ("a\"b", "a;b", "x" * 2000):
        answer = preflight(open_to_page, **{"Access-Control-Request-Headers": strange})
        assert answer.header("access-control-allow-headers") == "Content-Type, Authorization, X-Provider"


@pytest.mark.parametrize("origin", OTHERS)
def test_other_pages_are_told_nothing(open_to_page, origin):
    answer = preflight(open_to_page, origin)
    assert answer.status == 204 and not cors_headers(answer) and answer.header("vary") == "Origin"
    answer = request_once(open_to_page.port, "GET", "/readyz", headers={"Origin": origin})
    assert answer.status == 200 and not cors_headers(answer)


def test_every_answer_can_be_read_by_the_page(open_to_page):
    page = {"Origin": PAGE}
    key = {"Authorization": "Bearer secret"}
    for answer, status in (
        (request_once(open_to_page.port, "POST", "/v1/chat/completions", GOOD, {**page, **key}), 200),
        (request_once(open_to_page.port, "POST", "/v1/chat/completions", GOOD[:-1] + b',"stream":true}', {**page, **key}), 200),
        (request_once(open_to_page.port, "POST", "/v1/chat/completions", GOOD, page), 401),
        (request_once(open_to_page.port, "GET", "/v1/chat/completions", headers={**page, **key}), 405),
        (request_once(open_to_page.port, "GET", "/nowhere", headers=page), 404),
        (request_once(open_to_page.port, "GET", "/livez", headers=page), 200),
    ):
        assert answer.status == status
        assert answer.header("access-control-allow-origin") == PAGE and answer.header("vary") == "Origin"


def test_without_an_origin_nothing_is_different(open_to_page):
    answer = request_once(open_to_page.port, "GET", "/livez")
    assert not cors_headers(answer) and answer.header("vary") == "Origin"
    answer = request_once(open_to_page.port, "OPTIONS", "/v1/models")
    assert answer.status in (401, 405) and not cors_headers(answer)


def test_nobody_by_default(start_gateway, upstream):
    gateway = start_gateway([target(upstream.url)])
    assert not cors_headers(preflight(gateway))


def test_the_variable_counts_where_the_key_is_absent(start_gateway, upstream):
    environment = {"CORS_ORIGINS": f" https://one.example ,{PAGE},,"}
    gateway = start_gateway([target(upstream.url)], environment=environment)
    assert preflight(gateway).header("access-control-allow-origin") == PAGE
    assert preflight(gateway, "https://one.example").header("access-control-allow-origin") == "https://one.example"
    gateway = start_gateway([target(upstream.url)], environment=environment, config={"cors_origins": ["https://two.example"]})
    assert not cors_headers(preflight(gateway))


def test_a_star_is_no_page(start_gateway, upstream, tmp_path):
    gateway = start_gateway([target(upstream.url)], config={"cors_origins": ["*"]})
    assert not cors_headers(preflight(gateway))
    assert gateway.log_lines(event="edge.cors", level="warn")
    path = write_config(tmp_path / "star.yaml", [target(upstream.url)], cors_origins=["*"])
    code, log = run_to_end(["serve", "--config", path, "--listen", "127.0.0.1:0"], tmp_path,
                           environment={"GATEWAY_ENV": "production", "TEST_UPSTREAM_KEY": UPSTREAM_KEY})
    assert code == 1 and "refuses the origin '*'" in log


def test_dev_is_for_no_page(tmp_path):
    port = free_port()
    dev = HttpProcess(["serve", "--dev", "--listen", f"127.0.0.1:{port}"], port, tmp_path / "log", "/readyz",
                      environment={"CORS_ORIGINS": PAGE})
    try:
        dev.wait_ready()
        answer = preflight(dev)
        assert answer.status == 403 and not cors_headers(answer) and answer.header("vary") is None
        dev.stop()
    finally:
        dev.kill()
