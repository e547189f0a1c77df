"""`dynabus models` from outside, and a catalogue that a gateway fetches."""

import json
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.gateway import run_to_end, target, write_config
from harness.http import chat_once, request_once

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
COST = "x-dynabus-cost-usd"
SECONDS = 20
LITELLM = {"gpt-4o-mini": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06,
                           "output_cost_per_token": 0.0, "source": "https://example.com/prices"}}
FERRO = {"openai/gpt-4o-mini": {"mode": "chat", "pricing": {"input_per_m_tokens": 2, "output_per_m_tokens": 0}}}


class Pages:
    """A web server that the test scripts: path -> (status, headers, body)."""

    def __init__(self):
        pages = self
        self.answers, self.seen = {}, []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                pages.seen.append((self.command, self.path, self.headers.get("If-None-Match")))
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, body = pages.answers.get(self.path, (404, {}, b""))
                if status == 200 and headers.get("ETag") and headers["ETag"] == self.headers.get("If-None-Match"):
                    status, body = 304, b""
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def pages():
    server = Pages()
    yield server
    server.close()


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def cost(gateway):
    answer = chat_once(gateway.port, CHAT)
    assert answer.status == 200
    return float(answer.header(COST)) / answer.json()["usage"]["prompt_tokens"]


def loads(gateway, labels):
    page = request_once(gateway.port, "GET", "/metrics").body.decode()
    return int(page.split(f"gateway_catalog_loads_total{{{labels}}} ")[1].split()[0])


def test_list_and_show(tmp_path):
    code, out = run_to_end(["models", "list", "--provider", "openai", "--json", "gpt-4o-mini"], tmp_path)
    models = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and all("gpt-4o-mini" in model["id"] for model in models)
    mini = next(model for model in models if model["id"] == "gpt-4o-mini")
    assert {"price": "input", "usd_per_million": 0.15} in mini["prices"] and mini["source"].startswith("https://")
    code, out = run_to_end(["models", "list", "--mode", "embedding"], tmp_path)
    assert code == 0 and "text-embedding-3-small" in out and "gpt-4o-mini" not in out
    code, out = run_to_end(["models", "show", "anthropic/claude-sonnet-4-5"], tmp_path)
    assert code == 0 and "200000 tokens" in out and "3.75 USD" in out and "looked at" in out
    code, out = run_to_end(["models", "show", "gpt-4o-mni"], tmp_path)
    assert code == 1 and "gpt-4o-mini" in out
    code, out = run_to_end(["models", "list", "--provider", "nobody"], tmp_path)
    assert code == 1 and "nobody" in out
    assert run_to_end(["models", "dance"], tmp_path)[0] == 2


def test_a_mode_that_there_is_not_is_told(tmp_path):
    code, out = run_to_end(["models", "list", "--mode", "chta"], tmp_path)
    assert code == 2 and "there is no mode 'chta'; there are:" in out and " chat " in out


def test_import(tmp_path):
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(LITELLM))
    code, out = run_to_end(["models", "import", path], tmp_path)
    assert code == 0 and "openai\tgpt-4o-mini\tchat\t" in out and "$input=1000000" in out
    code, out = run_to_end(["models", "import", "--prices", path], tmp_path)
    assert code == 0 and "input_per_m_tokens: 1\n" in out
    config = tmp_path / "with-prices.yaml"
    config.write_text(out[out.index("models:"):])
    assert run_to_end(["validate", config], tmp_path)[0] == 0
    path.write_text("{")
    code, out = run_to_end(["models", "import", path], tmp_path)
    assert code == 1 and "no JSON" in out


def test_a_model_with_tiers_is_no_price_of_a_configuration(tmp_path):
    """One price for all requests would bill the long ones at that of the short ones."""
    rows = {"tiered": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06,
                       "input_cost_per_token_above_200k_tokens": 2e-06},
            "flexible": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06,
                         "input_cost_per_token_flex": 5e-07},
            "plain": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 3e-06}}
    (tmp_path / "list.json").write_text(json.dumps(rows))
    code, out = run_to_end(["models", "import", "--prices", tmp_path / "list.json"], tmp_path)
    assert code == 0 and out.count("- provider:") == 1 and 'model: "plain"' in out
    assert "# openai/tiered has prices" in out and "# openai/flexible has prices" in out
    del rows["plain"]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    code, out = run_to_end(["models", "import", "--prices", tmp_path / "list.json"], tmp_path)
    assert code == 0 and "prices: []" in out


def test_check_names_the_sources_that_are_gone(tmp_path, pages):
    pages.answers = {"/there": (200, {}, b""), "/shy": (403, {}, b""), "/moved": (301, {"Location": "/there"}, b"")}
    path = tmp_path / "list.json"
    names = ["there", "shy", "moved", "lost"]
    path.write_text(json.dumps({name: {"litellm_provider": "openai", "source": f"{pages.url}/{name}"}
                                for name in names}))
    code, out = run_to_end(["models", "check", "--catalog", path], tmp_path)
    assert code == 1 and f"gone 404     {pages.url}/lost" in out
    assert "4 sources: 2 there, 1 there but not for a HEAD, 1 gone, 0 unreachable" in out
    assert {method for method, _, _ in pages.seen} == {"HEAD"}
    pages.answers["/lost"] = (200, {}, b"")
    assert run_to_end(["models", "check", "--catalog", path], tmp_path)[0] == 0


def test_a_provider_without_models_has_none_any_more(start_gateway, pages):
    """Asked again after a reload brings another target: an empty list is an answer, too."""
    pages.answers = {"/v1/models": (200, {}, b'{"data": [{"id": "found"}]}')}
    config = {"models": {"discovery_interval": "1h"}, "reload": {"watch": False}}
    gateway = start_gateway([target(pages.url, models=["written"])], config=config)
    until(lambda: listed(gateway) == {"written", "found"})
    pages.answers = {"/v1/models": (200, {}, b'{"data": []}')}
    targets = [target(pages.url, models=["written"]), target(f"{pages.url}/more", name="more", models=["written"])]
    write_config(gateway.config_path, targets, **config)
    gateway.signal(signal.SIGHUP)
    until(lambda: listed(gateway) == {"written"})


# ---- by which way ----

FOUND = (200, {}, b'{"data": [{"id": "found"}]}')


def test_no_key_goes_to_a_proxy_that_the_configuration_forbids(start_gateway, pages):
    """Of the environment: requests don't go there, so neither does what discovery and the catalogue ask."""
    config = {"upstream": {"proxy": "none"},
              "models": {"discovery_interval": "1h", "catalog_url": "http://catalogue.invalid/prices"}}
    gateway = start_gateway([target("http://provider.invalid", models=["written"])], config=config,
                            environment={"http_proxy": pages.url, "all_proxy": pages.url})
    until(lambda: "gateway.discover" in gateway.log() and "gateway.refresh" in gateway.log())
    assert pages.seen == []


def test_what_is_on_loopback_is_asked_without_a_proxy(start_gateway, pages):
    proxy = Pages()
    try:
        pages.answers = {"/v1/models": FOUND, "/prices": (200, {}, json.dumps(LITELLM).encode())}
        config = {"models": {"discovery_interval": "1h", "catalog_url": f"{pages.url}/prices"}}
        gateway = start_gateway([target(pages.url)], config=config,
                                environment={"http_proxy": proxy.url, "all_proxy": proxy.url})
        until(lambda: "found" in listed(gateway) and loads(gateway, 'source="remote",result="success"') == 1)
        assert proxy.seen == []
    finally:
        proxy.close()


def test_the_proxy_of_the_configuration_is_taken(start_gateway, pages):
    pages.answers = {"http://provider.invalid/v1/models": FOUND,
                     "http://catalogue.invalid/prices": (200, {}, json.dumps(LITELLM).encode())}
    config = {"upstream": {"proxy": pages.url, "no_proxy": "direct.invalid"},
              "models": {"discovery_interval": "1h", "catalog_url": "http://catalogue.invalid/prices"}}
    targets = [target("http://provider.invalid"), target("http://direct.invalid", name="direct")]
    gateway = start_gateway(targets, config=config, environment={"http_proxy": "http://127.0.0.1:9"})
    until(lambda: "found" in listed(gateway) and loads(gateway, 'source="remote",result="success"') == 1)
    assert {path for _, path, _ in pages.seen} == set(pages.answers)


@pytest.mark.parametrize("form, price", [(LITELLM, 1e-6), (FERRO, 2e-6)])
def test_a_newer_catalogue_is_fetched(start_gateway, mock, pages, form, price):
    pages.answers = {"/old": (302, {"Location": "/catalog.json"}, b""),
                     "/catalog.json": (200, {"ETag": '"1"'}, json.dumps(form).encode())}
    gateway = start_gateway([target(f"http://127.0.0.1:{mock.port}", models=["gpt-4o-mini"])],
                            config={"models": {"catalog_url": pages.url + "/old"}})
    until(lambda: loads(gateway, 'source="remote",result="success"') == 1)
    assert cost(gateway) == pytest.approx(price)


def test_a_short_list_takes_nothing_away(start_gateway, mock, pages):
    """One row of another model: the rest of the catalogue stays as it is built in."""
    other = {"x/y": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1}}
    pages.answers = {"/prices": (200, {}, json.dumps(other).encode())}
    gateway = start_gateway([target(f"http://127.0.0.1:{mock.port}", models=["gpt-4o-mini"])],
                            config={"models": {"catalog_url": f"{pages.url}/prices"}})
    until(lambda: loads(gateway, 'source="remote",result="success"') == 1)
    answer = chat_once(gateway.port, CHAT)
    usage = answer.json()["usage"]
    wanted = usage["prompt_tokens"] * 0.15e-6 + usage["completion_tokens"] * 0.6e-6
    assert float(answer.header(COST)) == pytest.approx(wanted)


def test_a_broken_catalogue_changes_nothing(start_gateway, mock, pages):
    pages.answers = {"/catalog.json": (200, {}, b"<html>sorry</html>")}
    url = pages.url.replace("http://", "http://user:secret@") + "/catalog.json?token=hidden"
    gateway = start_gateway([target(f"http://127.0.0.1:{mock.port}", models=["gpt-4o-mini"])],
                            environment={"FERRO_MODEL_CATALOG_URL": url})
    until(lambda: loads(gateway, 'source="fallback",result="error"') == 1)
    answer = chat_once(gateway.port, CHAT)
    usage = answer.json()["usage"]
    wanted = usage["prompt_tokens"] * 0.15e-6 + usage["completion_tokens"] * 0.6e-6
    assert float(answer.header(COST)) == pytest.approx(wanted)
    assert "secret" not in gateway.log() and "hidden" not in gateway.log() and "/catalog.json" in gateway.log()


def test_nothing_is_fetched_unless_configured(start_gateway, mock, pages):
    gateway = start_gateway([target(f"http://127.0.0.1:{mock.port}", models=["gpt-4o-mini"])],
                            config={"models": {"catalog_url": pages.url + "/c", "catalog_timeout": "0s"}})
    assert chat_once(gateway.port, CHAT).status == 200
    assert pages.seen == []


def listed(gateway):
    return {model["id"] for model in request_once(gateway.port, "GET", "/v1/models").json()["data"]}


def test_targets_that_list_none_show_what_the_catalogue_routes_to_them(start_gateway, upstream):
    """What /v1/models names is served, and owned by its provider; aliases and other ways of asking are not in it."""
    gateway = start_gateway([target(upstream.url, models=[]), target(upstream.url, name="own", models=["mine"])],
                            config={"aliases": {"short": "gpt-4o-mini"}})
    models = listed(gateway)
    assert {"gpt-4o-mini", "text-embedding-3-small", "mine"} <= models and len(models) > 20
    assert not {"short", "dall-e-3", "whisper-1"} & models
    assert request_once(gateway.port, "GET", "/v1/models/gpt-4o-mini").json()["owned_by"] == "openai"
    answer = chat_once(gateway.port, CHAT)
    assert (answer.status, answer.header("x-dynabus-target")) == (200, "upstream")


def test_providers_are_asked_for_their_models(start_gateway, pages):
    models = {"data": [{"id": "found-one"}, {"id": "found-two"}, {"id": "bad id"}, {}]}
    pages.answers = {"/v1/models": (200, {}, json.dumps(models).encode())}
    targets = [target(pages.url, models=["written"]),
               target(pages.url, name="strict", models=["alone"], models_only=True)]
    gateway = start_gateway(targets, config={"models": {"discovery_interval": "1m"}})
    until(lambda: "found-one" in listed(gateway))
    assert listed(gateway) == {"written", "found-one", "found-two", "alone"}
    assert [path for _, path, _ in pages.seen] == ["/v1/models"] * 2
    pages.answers = {"/v1/chat/completions": (500, {}, b"")}
    answer = chat_once(gateway.port, {**CHAT, "model": "found-two"})
    assert answer.header("x-dynabus-target") == "upstream"


def test_another_upstream_has_another_list(start_gateway, pages):
    """A reload sends a target somewhere else: nothing of the former list stays, and the new one is asked at once."""
    pages.answers = {"/one/v1/models": (200, {}, b'{"data": [{"id": "of-one"}]}'),
                     "/two/v1/models": (200, {}, b'{"data": [{"id": "of\\/two"}]}')}
    config = {"models": {"discovery_interval": "1h"}, "reload": {"watch": False}}
    gateway = start_gateway([target(f"{pages.url}/one", models=["written"])], config=config)
    until(lambda: listed(gateway) == {"written", "of-one"})
    write_config(gateway.config_path, [target(f"{pages.url}/two", models=["written"])], **config)
    gateway.signal(signal.SIGHUP)
    until(lambda: listed(gateway) == {"written", "of/two"})
    write_config(gateway.config_path, [target(f"{pages.url}/three", models=["written"])], **config)
    gateway.signal(signal.SIGHUP)
    until(lambda: listed(gateway) == {"written"})


def test_a_provider_that_does_not_say_changes_nothing(start_gateway, pages):
    gateway = start_gateway([target(pages.url, models=["written"])], config={"models": {"discovery_interval": "1m"}})
    until(lambda: "gateway.discover" in gateway.log())
    assert listed(gateway) == {"written"}
