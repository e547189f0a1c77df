"""Configurations in Ferro's format run unchanged and route as its documentation says (configs/ferro); broken ones
are refused with exactly the sentences that stand beside them (configs/broken). configs/README.md says which file
is about what."""

import pathlib
import re
import threading

import pytest

from harness.http import chat_once, request_once
from harness.gateway import run_to_end
from harness.process import HttpProcess, free_port
from harness.upstream import Upstream, completion

CONFIGS = pathlib.Path(__file__).parent / "configs"
BROKEN = sorted(path for path in (CONFIGS / "broken").iterdir() if path.suffix != ".expected")


def prefix(provider):
    """What the provider's variables begin with."""
    return provider.upper().replace("-", "_")


class World:
    """A gateway with a configuration of Ferro, and an upstream for each provider in it."""

    def __init__(self, number, directory, arguments=(), keyless=()):
        path = CONFIGS / "ferro" / f"{number}.yaml"
        self.providers = re.findall(r"virtual_key: (\S+)", path.read_text())
        self.upstreams = {provider: Upstream() for provider in self.providers}
        self.statuses = {provider: [] for provider in self.providers}  # of the next answers; then 200
        self.gate = None  # an Event that answers wait for
        variables = {"LOG_FORMAT": "json", "MASTER_KEY": "master"}
        for provider, upstream in self.upstreams.items():
            upstream.reset_to(self._handler(provider))
            variables[f"{prefix(provider)}_BASE_URL"] = f"{upstream.url}/v1"
            if provider not in keyless:
                variables[f"{prefix(provider)}_API_KEY"] = f"sk-of-{provider}"
        port = free_port()
        variables["GATEWAY_CONFIG"] = str(path)
        variables["PORT"] = str(port)
        self.gateway = HttpProcess(["serve", *arguments], port, directory / "gateway.log", "/readyz",
                                   environment=variables)
        self.port = port

    def _handler(self, provider):
        def answer(request, exchange):
            if self.gate is not None:
                assert self.gate.wait(30)
            status = self.statuses[provider].pop(0) if self.statuses[provider] else 200
            if status == 200:
                exchange.json(completion(provider))
            else:
                exchange.json({"error": {"message": "as the test says", "type": "x"}}, status=status)
        return answer

    def ask(self, model="m", text="x", **more):
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return chat_once(self.port, body, {"Authorization": "Bearer master"})

    def served(self, model="m", text="x", **more):
        """Which provider answered."""
        answer = self.ask(model, text, **more)
        assert answer.status == 200, answer
        return answer.json()["choices"][0]["message"]["content"]

    def calls(self, provider):
        return len(self.upstreams[provider].received())

    def close(self):
        try:
            self.gateway.stop()
        finally:
            self.gateway.kill()
            for upstream in self.upstreams.values():
                upstream.close()
        for upstream in self.upstreams.values():
            assert not upstream.failures, upstream.failures


@pytest.fixture
def start(tmp_path):
    started = []

    def start_one(number, **options):
        started.append(World(number, tmp_path, **options))
        started[-1].gateway.wait_ready()
        return started[-1]

    yield start_one
    for world in started:
        world.close()


# Ferro's format

def test_01_one_target(start):
    world = start("01")
    assert world.served("gpt-4o") == "openai"
    request = world.upstreams["openai"].received()[0]
    assert request.path == "/v1/chat/completions"
    assert request.header("authorization") == "Bearer sk-of-openai"


def test_02_fallback(start):
    world = start("02")
    assert world.served() == "openai"
    world.statuses["openai"] = [500]
    assert world.served() == "groq"
    world.statuses["openai"] = [503]
    world.statuses["groq"] = [404]
    assert world.ask().status == 404  # the last error counts


def test_03_who_declares_a_model_gets_it(start):
    world = start("03")
    assert [world.served(model) for model in ("one", "two", "both")] == ["openai", "groq", "openai"]
    answer = world.ask("three")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


def test_04_retries(start):
    world = start("04")
    world.statuses["openai"] = [503, 503]
    assert world.served() == "openai"
    assert world.calls("openai") == 3
    world.statuses["openai"] = [400]
    assert world.ask().status == 400
    assert world.calls("openai") == 4


def test_05_statuses_to_retry(start):
    world = start("05")
    world.statuses["openai"] = [418, 500]
    assert world.served() == "openai"
    assert world.calls("openai") == 3
    world.statuses["openai"] = [503]  # not in the list: the next target at once
    assert world.served() == "groq"
    assert world.calls("openai") == 4


def test_06_weights(start):
    world = start("06")
    served = [world.served() for _ in range(200)]
    assert 105 <= served.count("openai") <= 175  # 70 of 100; the odds of leaving this are below 10^-6


def test_07_a_weight_of_zero(start):
    world = start("07")
    assert {world.served() for _ in range(20)} == {"groq"}
    world.statuses["groq"] = [500]
    assert world.served() == "openai"


def test_08_conditions(start):
    world = start("08")
    assert [world.served(model) for model in ("small", "big-model", "big-other")] == ["openai", "groq", "mistral"]


def test_09_no_condition_holds(start):
    world = start("09")
    assert world.served("m") == "groq"
    assert world.served("other") == "openai"
    world.statuses["openai"] = [500]
    assert world.ask("other").status >= 500
    assert world.calls("groq") == 1  # a failure of the one that was meant is not walked past


def test_10_content(start):
    world = start("10")
    assert world.served(text="my INVOICE, keep it") == "groq"
    assert world.served(text="keep AB123456") == "mistral"
    assert world.served(text="keep ab123456") == "openai"  # no rule holds: the order of the targets
    assert world.served(text="nothing of that") == "deepseek"


def test_11_variants(start):
    world = start("11")
    served = [world.served() for _ in range(200)]
    assert 125 <= served.count("openai") <= 190  # 80 of 100
    assert "mistral" not in served
    assert served.count("openai") + served.count("groq") == 200


def test_12_latency(start):
    """Who has no sample yet is tried first; then both are known, and one of them serves."""
    world = start("12")
    assert {world.served() for _ in range(2)} == {"openai", "groq"}
    world.statuses["openai"] = [500]
    world.statuses["groq"] = [500]
    assert world.ask().status >= 500
    assert world.served() in ("openai", "groq")


def test_13_cost(start):
    world = start("13")
    model = "deepseek-ai/DeepSeek-R1-0528"  # which costs there a third of what it costs elsewhere
    assert world.served(model) == "deepinfra"
    world.statuses["deepinfra"] = [500]
    assert world.served(model) == "together"
    assert world.served("unheard-of") == "together"  # without a price: in order


def test_14_no_price_no_answer(start):
    world = start("14")
    assert world.served("gpt-4o") == "openai"
    assert world.ask("unheard-of").status == 404
    assert world.calls("groq") == 0


def test_15_aliases(start):
    world = start("15")
    assert world.served("fast") == "groq"
    assert world.upstreams["groq"].received()[0].json()["model"] == "llama-small"
    assert world.served("clever") == "openai"
    assert world.served("llama-small") == "groq"


def test_16_breakers(start):
    world = start("16")
    world.statuses["openai"] = [500, 500]
    assert [world.served() for _ in range(4)] == ["groq"] * 4
    assert world.calls("openai") == 2  # open since the second
    world.statuses["groq"] = [500, 500, 500]
    for _ in range(3):
        assert world.ask("alone").status >= 500
    answer = world.ask("alone")
    assert (answer.status, answer.error["code"]) == (503, "upstream_unavailable")
    assert int(answer.header("retry-after")) >= 1
    assert world.calls("groq") == 7


def test_17_limits(start):
    """One is served, one waits, a third is refused at once."""
    world = start("17")
    world.gate = threading.Event()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(world.ask().status)) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            if answers:
                break
            threading.Event().wait(0.05)
        assert answers == [429]
        world.upstreams["openai"].wait_received(1)
        assert world.calls("openai") == 1
    finally:
        world.gate.set()
        for thread in threads:
            thread.join()
    assert sorted(answers) == [200, 200, 429]


def test_18_sizes_and_times(start):
    world = start("18")
    assert world.ask(text="x" * 3000).status == 413
    world.gate = threading.Event()
    try:
        assert world.ask().status == 504
    finally:
        world.gate.set()


def test_19_parameters(start):
    world = start("19")
    answer = world.ask(logprobs=True)
    assert (answer.status, answer.error["code"]) == (400, "unsupported_parameter")
    assert "perplexity" in answer.error["message"] and "logprobs" in answer.error["message"]
    assert world.calls("perplexity") == 0
    assert world.served() == "perplexity"


def test_20_all_of_it(start):
    world = start("20", arguments=["--ignore-unsupported"], keyless=["together"])
    assert world.served("house") == "mistral"
    assert world.upstreams["mistral"].received()[0].json()["model"] == "house-model"
    assert world.served("house-other") == "groq"
    assert world.served("default") == "openai"
    log = world.gateway.log()
    for key in ("mcp_servers", "observability", "batch_target", "responses_target"):
        assert f"'{key}' is not supported in this version" in log
    assert "TOGETHER_API_KEY" in log
    answer = chat_once(world.port, {"model": "default", "messages": [{"role": "user", "content": "a SECRET"}]},
                       headers={"Authorization": "Bearer master"})
    assert (answer.status, answer.error["code"]) == (400, "request_rejected")  # its word-filter
    models = request_once(world.port, "GET", "/v1/models", headers={"Authorization": "Bearer master"}).json()
    assert "house-model" in {model["id"] for model in models["data"]}


def test_20_is_refused_without_the_option(tmp_path):
    """What is not served yet ends the start, with its line, unless it is told to be ignored."""
    path = CONFIGS / "ferro" / "20.yaml"
    code, log = run_to_end(["serve"], tmp_path, environment={"GATEWAY_CONFIG": str(path), "OPENAI_API_KEY": "k",
                                                             "GROQ_API_KEY": "k", "MISTRAL_API_KEY": "k"})
    assert code == 1
    lines = path.read_text().splitlines()
    for key in ("mcp_servers", "observability", "batch_target", "responses_target"):
        line = lines.index(next(text for text in lines if text.startswith(key))) + 1
        assert f":{line}:1: error: '{key}' is not supported in this version" in log


def test_no_configuration(tmp_path):
    """Without a file: one target for each provider in the environment, in the order of the table, as fallbacks."""
    openai, groq = Upstream(), Upstream()
    openai.reset_to(lambda request, exchange: exchange.json({"error": {"message": "no"}}, status=500))
    groq.reset_to(lambda request, exchange: exchange.json(completion("groq")))
    port = free_port()
    gateway = HttpProcess(["serve", "--listen", f"127.0.0.1:{port}"], port, tmp_path / "log", "/readyz", environment={
        "OPENAI_API_KEY": "a", "OPENAI_BASE_URL": openai.url, "GROQ_API_KEY": "b", "GROQ_BASE_URL": groq.url})
    try:
        gateway.wait_ready()
        answer = chat_once(port, {"model": "llama-guard-3-8b", "messages": [{"role": "user", "content": "x"}]})
        assert answer.status == 200
        assert not openai.received()  # the catalogue knows whose model that is
        answer = chat_once(port, {"model": "nobody-knows", "messages": [{"role": "user", "content": "x"}]})
        assert answer.status == 200
        assert len(openai.received()) == 1  # asked first, and failed
        gateway.stop()
        assert re.search(r"targets +openai, groq", gateway.log())
    finally:
        gateway.kill()
        openai.close()
        groq.close()


# what is not served yet

def test_the_documents_list_what_is_not_supported():
    """README and the way from Ferro name each key that the reference says is refused."""
    root = pathlib.Path(__file__).resolve().parents[2]
    section = (root / "docs/configuration.md").read_text().split("## Known, but not supported")[1]
    keys = [key.split(".", 1)[-1] for key in re.findall(r"^\* `(?:targets\[\]\.)?([^`]+)`", section, re.M)]
    assert "mcp_servers" in keys
    for page in ("README.md", "docs/migrate/ferro.md"):
        text = (root / page).read_text()
        assert not [key for key in keys if key not in text]


# broken ones

def test_all_are_there():
    assert len(BROKEN) == 61
    assert len(list((CONFIGS / "ferro").iterdir())) == 20


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_broken(path, tmp_path):
    """`validate` prints all that is wrong, and exits 1; each line begins with the path that it was given."""
    code, log = run_to_end(["validate", path], tmp_path,
                           environment={"OPENAI_API_KEY": "k-openai", "GROQ_API_KEY": "k-groq"})
    expected = path.with_suffix(".expected").read_text()
    assert log.replace(f"{path.parent}/", "") == expected
    assert code == 1
