"""What requests cost, from outside: the header of plain answers, events, metrics, and the operator's own prices."""

from decimal import Decimal

from harness.gateway import target
from harness.http import chat_once, request_once

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
