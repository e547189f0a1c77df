"""What requests cost, from outside: the header of plain answers, events, metrics, and the operator's own prices."""

import json
from contextlib import closing
from decimal import Decimal

import pytest

from harness.fleet import MASTER_KEY, Fleet
from harness.gateway import target
from harness.http import chat_once, request_once
from harness.upstream import Upstream, completion

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
COST = "x-dynabus-cost-usd"


def cost_of(answer, prompt, completion):
    usage = answer.json()["usage"]
    return (usage["prompt_tokens"] * Decimal(prompt) + usage["completion_tokens"] * Decimal(completion)) / 10**6


def shown(answer):
    assert answer.status == 200, answer
    value = answer.header(COST)
    return Decimal(value) if value is not None else None


def test_a_plain_answer_says_what_it_cost(start_gateway, mock):
    gateway = start_gateway([target(f"http://127.0.0.1:{mock.port}", models=["gpt-4o-mini"])])
    answer = chat_once(gateway.port, CHAT)
    assert shown(answer) == cost_of(answer, "0.15", "0.6") > 0
    page = request_once(gateway.port, "GET", "/metrics").body.decode()
    total = [line for line in page.splitlines() if line.startswith("gateway_request_cost_usd_total{")]
    assert len(total) == 1 and abs(float(total[0].split()[-1]) - float(shown(answer))) < 1e-12


def long_answer(length):
    answer = completion("x" * length)
    answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    return answer


@pytest.mark.parametrize("length", [30_000, 60_000, 900_000])
def test_a_long_plain_answer_says_it_too(start_gateway, upstream, length):
    """It comes in pieces, and is held until it is whole."""
    upstream.reset_to(lambda request, exchange: exchange.json(long_answer(length)))
    gateway = start_gateway([target(upstream.url, models=["gpt-4o-mini"])])
    assert shown(chat_once(gateway.port, CHAT)) == Decimal("0.00021")


def test_embeddings_say_it(start_gateway, upstream):
    vectors = {"object": "list", "model": "text-embedding-3-small",
               "data": [{"object": "embedding", "index": i, "embedding": [0.0123456789] * 1536} for i in range(3)],
               "usage": {"prompt_tokens": 1000, "total_tokens": 1000}}
    upstream.reset_to(lambda request, exchange: exchange.json(vectors))
    gateway = start_gateway([target(upstream.url, models=["text-embedding-3-small"])])
    answer = request_once(gateway.port, "POST", "/v1/embeddings", json.dumps(
        {"model": "text-embedding-3-small", "input": ["a", "b", "c"]}).encode())
    assert shown(answer) == Decimal("0.00002")


def test_a_stream_has_no_such_header(start_gateway, mock):
    gateway = start_gateway([target(f"http://127.0.0.1:{mock.port}", models=["gpt-4o-mini"])])
    assert shown(chat_once(gateway.port, {**CHAT, "stream": True})) is None


def test_what_has_no_price_has_no_cost(start_gateway, mock):
    gateway = start_gateway([target(f"http://127.0.0.1:{mock.port}", models=["a-model-of-my-own"])])
    assert shown(chat_once(gateway.port, {**CHAT, "model": "a-model-of-my-own"})) is None


def test_prices_of_the_configuration_prevail(start_gateway, mock):
    prices = [
        {"provider": "openai", "model": "gpt-4o-mini", "input_per_m_tokens": 1},
        {"provider": "mine", "model": "local", "input_per_m_tokens": 0.25, "output_per_m_tokens": 0},
    ]
    url = f"http://127.0.0.1:{mock.port}"
    targets = [target(url, models=["gpt-4o-mini"]), target(url, name="mine", models=["local"])]
    gateway = start_gateway(targets, config={"models": {"prices": prices}})
    answer = chat_once(gateway.port, CHAT)
    assert shown(answer) == cost_of(answer, "1", "0.6")
    answer = chat_once(gateway.port, {**CHAT, "model": "local"})
    assert shown(answer) == cost_of(answer, "0.25", "0")


@pytest.fixture(params=["cells", "tcp"])
def ask(request, start_gateway, tmp_path):
    """Asks a model that costs 1 USD per million tokens either way, through one process of two cells or through three
    processes; the upstream tells `usage`, and what else it is given."""
    prices = [{"provider": "mine", "model": "local", "input_per_m_tokens": 1, "output_per_m_tokens": 1}]
    with closing(Upstream()) as upstream:
        targets = [target(upstream.url, name="mine", models=["local"])]
        models = {"models": {"prices": prices}}
        fleet = Fleet(tmp_path, upstream.url, routers=1, cells=2, **models) if request.param == "tcp" else None
        if fleet is None:
            gateway = start_gateway(targets, arguments=["--cells", "2"], config=models,
                                    environment={"MASTER_KEY": MASTER_KEY})
        else:
            written = json.loads(fleet.config.read_text())
            fleet.config.write_text(json.dumps({**written, "targets": targets}))
            gateway = fleet.start()

        def ask_it(usage, **more):
            upstream.reset_to(
                lambda request, exchange: exchange.json(completion("x", "local", **{"usage": usage, **more})))
            return chat_once(gateway.port, {**CHAT, "model": "local"},
                             headers={"authorization": f"Bearer {MASTER_KEY}"})

        yield ask_it
        if fleet is not None:
            fleet.stop()
            fleet.close()


USAGE = {"prompt_tokens": 1000000, "completion_tokens": 0, "total_tokens": 1000000}


def test_what_was_sold_in_another_way_is_known_to_the_router(ask):
    """How it was sold and what was searched for are counts of their own: without them a wrong sum would be told."""
    assert shown(ask(USAGE)) == 1
    assert shown(ask(USAGE, service_tier="default")) == 1
    assert shown(ask(USAGE, service_tier="flex")) is None
