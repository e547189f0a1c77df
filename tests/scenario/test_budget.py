"""budget on the real binary with two cells: money is reserved before and settled after; what is over is 402."""

import os
import random
import signal
import sqlite3
import threading
import time
from decimal import Decimal

import pytest

from harness.gateway import Gateway, run_to_end, target, write_config
from harness.http import Connection, chat_once, request_once
from harness.upstream import completion

MASTER = "master-key-for-tests"
BEARER = {"Authorization": f"Bearer {MASTER}"}
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}
COST = "x-dynabus-cost-usd"


def plugins(config):
    """As Ferro has it: the same plugin at three stages."""
    return [{"name": "budget", "type": "ratelimit", "stage": stage, "enabled": True, "config": config}
            for stage in ("before_request", "after_request", "on_error")]


@pytest.fixture
def budgeted(start_gateway, mock):
    def start(config, models=("gpt-4o-mini",)):
        return start_gateway([target(f"http://127.0.0.1:{mock.port}", models=list(models))],
                             arguments=["--cells", "2"], environment={"MASTER_KEY": MASTER},
                             config={"plugins": plugins(config)})
    return start


def spend(gateway, body=CHAT, most=400):
    """Asks until it is refused: the sum of the answers' costs, and the refusal."""
    sum_usd = Decimal(0)
    for _ in range(most):
        answer = chat_once(gateway.port, body, BEARER)
        if answer.status != 200:
            return sum_usd, answer
        sum_usd += Decimal(answer.header(COST))
    raise AssertionError("never refused")


def test_the_catalogues_prices_are_spent_to_the_limit(budgeted):
    limit = Decimal("0.0003")
    sum_usd, refusal = spend(budgeted({"spend_limit_usd": float(limit)}))
    assert refusal.status == 402
    assert refusal.error["code"] == "insufficient_quota"
    assert refusal.error["type"] == "insufficient_quota"
    assert "$" in refusal.error["message"]
    most_of_one = Decimal("0.0001")
    assert limit - most_of_one <= sum_usd <= limit


def test_rates_of_the_configuration_are_spent(budgeted):
    config = {"spend_limit_usd": 0.01, "input_per_m_tokens": 1, "output_per_m_tokens": 10}
    gateway = budgeted(config, models=["a-model-of-my-own"])
    body = {**CHAT, "model": "a-model-of-my-own", "max_tokens": 500}
    statuses, sum_usd = [], Decimal(0)
    for _ in range(400):
        answer = chat_once(gateway.port, body, BEARER)
        statuses.append(answer.status)
        if answer.status != 200:
            break
        usage = answer.json()["usage"]
        sum_usd += (usage["prompt_tokens"] + 10 * Decimal(usage["completion_tokens"])) / 10**6
    assert statuses[-1] == 402
    assert Decimal("0.0048") <= sum_usd <= Decimal("0.01")


def test_two_cells_do_not_overspend(budgeted):
    limit = Decimal("0.0006")
    gateway = budgeted({"spend_limit_usd": float(limit)})
    costs, lock = [], threading.Lock()

    def run():
        with Connection(gateway.port) as connection:
            for _ in range(60):
                answer = connection.chat(CHAT, BEARER)
                with lock:
                    costs.append((answer.status, Decimal(answer.header(COST, "0"))))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _ in costs} == {200, 402}
    sum_usd = sum(cost for status, cost in costs if status == 200)
    assert limit / 2 < sum_usd <= limit


def test_what_may_cost_more_than_is_left_is_refused(budgeted):
    gateway = budgeted({"spend_limit_usd": 0.001, "period": "month"})
    assert chat_once(gateway.port, {**CHAT, "max_tokens": 16000}, BEARER).status == 402
    assert chat_once(gateway.port, CHAT, BEARER).status == 200


@pytest.mark.parametrize("unpriced, statuses", [("allow", [200, 200]), ("deny", [402, 402]), ("default", [200, 402])])
def test_a_model_without_a_price(budgeted, unpriced, statuses):
    config = {"spend_limit_usd": 0.01, "unpriced": unpriced, "default_reserve_usd": 0.01}
    gateway = budgeted(config, models=["a-model-of-my-own"])
    body = {**CHAT, "model": "a-model-of-my-own"}
    assert [chat_once(gateway.port, body, BEARER).status for _ in statuses] == statuses


def test_a_failed_request_costs_nothing(start_gateway, upstream):
    upstream.handler = lambda request, exchange: exchange.json({"error": {"message": "no"}}, status=400)
    config = {"plugins": plugins({"spend_limit_usd": 0.0001})}
    gateway = start_gateway([target(upstream.url, models=["gpt-4o-mini"])], arguments=["--cells", "2"],
                            environment={"MASTER_KEY": MASTER}, config=config)
    assert [chat_once(gateway.port, CHAT, BEARER).status for _ in range(10)] == [400] * 10


def test_a_reload_keeps_what_was_spent(budgeted):
    gateway = budgeted({"spend_limit_usd": 0.0003})
    sum_usd, _ = spend(gateway)
    text = gateway.config_path.read_text()
    gateway.config_path.write_text(text.replace("0.0003", "0.0004"))
    gateway.signal(signal.SIGHUP)
    gateway.wait_until(lambda: gateway.log_lines(event="gateway.reload"), "reloaded")
    more, refusal = spend(gateway)
    assert refusal.status == 402
    assert sum_usd + more <= Decimal("0.0004")


def test_a_wrong_budget_is_refused(tmp_path, upstream):
    path = write_config(tmp_path / "wrong.yaml", [target(upstream.url)], plugins=plugins({"spend_limit_usd": -1}))
    code, said = run_to_end(["validate", path], tmp_path)
    assert code == 1
    assert "spend_limit_usd" in said


@pytest.fixture
def kept(tmp_path, mock):
    """Gateways one after the other with one store."""
    def start(limit, block):
        config = {"plugins": plugins({"spend_limit_usd": limit, "block_usd": block}),
                  "store": {"backend": "sqlite", "dsn": str(tmp_path / "kept.db")}}
        gateway = Gateway(tmp_path, [target(f"http://127.0.0.1:{mock.port}", models=["gpt-4o-mini"])],
                          arguments=["--cells", "2"], environment={"MASTER_KEY": MASTER}, config=config)
        gateway.wait_ready()
        return gateway
    return start


def costs_of(gateway, n):
    answers = [chat_once(gateway.port, CHAT, BEARER) for _ in range(n)]
    return sum(Decimal(answer.header(COST)) for answer in answers if answer.status == 200)


def test_a_restart_forgets_nothing(kept):
    limit = Decimal("0.0006")
    gateway = kept(float(limit), 0.0001)
    try:
        before = costs_of(gateway, 40)
        gateway.stop()
        gateway = kept(float(limit), 0.0001)
        after, refusal = spend(gateway)
        gateway.stop()
    finally:
        gateway.kill()
    assert before > 0 and after > 0 and refusal.status == 402
    assert limit - Decimal("0.0001") <= before + after <= limit


def test_killed_in_the_middle_no_spend_is_lost(kept):
    """Each life may have had one block open: it counts as spent."""
    limit, block, sum_usd = Decimal("0.0009"), Decimal("0.00005"), Decimal(0)
    lives = 6
    for _ in range(lives - 1):
        gateway = kept(float(limit), float(block))
        sum_usd += costs_of(gateway, 15)
        gateway.kill()
    gateway = kept(float(limit), float(block))
    try:
        more, refusal = spend(gateway)
        gateway.stop()
    finally:
        gateway.kill()
    assert refusal.status == 402
    assert limit - lives * (block + Decimal("0.0001")) <= sum_usd + more <= limit


def test_one_request_never_gets_more_than_is_set_aside_for_all_its_choices(start_gateway, upstream):
    """A provider bills what it was asked for: each of `n` choices, as long as the larger limit allows."""
    def bill(request, exchange):
        asked = request.json()
        tokens = asked.get("n", 1) * max(asked.get("max_tokens", 0), asked.get("max_completion_tokens", 0))
        exchange.json(completion(usage={"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": 3 + tokens}))

    upstream.reset_to(bill)
    body = {"model": "test-model", "messages": [{"role": "user", "content": "Hello"}]}
    config = {"spend_limit_usd": 1, "input_per_m_tokens": 1, "output_per_m_tokens": 10000}
    gateway = start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER},
                            config={"plugins": plugins(config)})
    for greedy in ({"max_tokens": 90, "n": 128}, {"max_tokens": 10_000_000, "max_completion_tokens": 1},
                   {"max_tokens": 1, "max_completion_tokens": 10_000_000}):
        assert chat_once(gateway.port, {**body, **greedy}, BEARER).status == 402, greedy
    assert upstream.received() == []
    assert chat_once(gateway.port, {**body, "max_tokens": 9, "n": 10}, BEARER).status == 200
    assert chat_once(gateway.port, {**body, "max_tokens": 9, "n": 2}, BEARER).status == 402, "$0.90 are spent"


def test_a_clean_end_gives_its_block_back(kept):
    """The block reaches to the limit: what the first life did not use of it is there for the second one."""
    limit = Decimal("0.001")
    gateway = kept(float(limit), 0.01)
    try:
        before = costs_of(gateway, 5)
        gateway.stop()
        gateway = kept(float(limit), 0.01)
        after, refusal = spend(gateway)
        gateway.stop()
    finally:
        gateway.kill()
    assert 0 < before < limit / 4 and refusal.status == 402
    assert limit - Decimal("0.0001") <= before + after <= limit


def accounts_of(gateway):
    answer = request_once(gateway.port, "GET", "/admin/budgets", headers=BEARER)
    assert answer.status == 200, answer
    return {account["account"]: account for account in answer.json()["data"]}


def test_budgets_are_shown_and_reset(kept, tmp_path):
    """Spent to the limit, forgiven, spent again; over HTTP and by `dynabus admin`, and who did it stands in the audit log."""
    limit = Decimal("0.0003")
    gateway = kept(float(limit), 0.00002)
    command = ["admin", "--gateway-url", f"http://127.0.0.1:{gateway.port}", "--api-key", MASTER, "budgets"]
    try:
        first, refusal = spend(gateway)
        assert refusal.status == 402
        account = accounts_of(gateway)["default/key:master"]
        assert first <= Decimal(str(account["total_usd"])) <= limit
        assert account["day_usd"] == account["week_usd"] == account["month_usd"] == account["total_usd"]
        code, said = run_to_end([*command, "list"], tmp_path)
        assert code == 0 and "default/key:master" in said

        path = "/admin/budgets/default%2Fkey%3Amaster/reset"
        assert request_once(gateway.port, "POST", path).status == 401
        assert request_once(gateway.port, "GET", path, headers=BEARER).status == 405
        assert request_once(gateway.port, "POST", path.replace("master", "nobody"), headers=BEARER).status == 404
        answer = request_once(gateway.port, "POST", path, headers=BEARER)
        assert answer.status == 200 and answer.json() == {"account": "default/key:master", "reset": True}
        assert Decimal(str(accounts_of(gateway)["default/key:master"]["total_usd"])) == 0
        gateway.wait_until(lambda: chat_once(gateway.port, CHAT, BEARER).status == 200, "it may spend again")
        second, refusal = spend(gateway)
        assert refusal.status == 402
        assert limit - Decimal("0.0001") <= second <= limit + Decimal("0.00002")

        code, said = run_to_end([*command, "reset", "default/key:master"], tmp_path)
        assert code == 0, said
        gateway.wait_until(lambda: chat_once(gateway.port, CHAT, BEARER).status == 200, "and again")
        rows = request_once(gateway.port, "GET", "/admin/audit?action=budget.reset", headers=BEARER).json()["data"]
        assert [row["outcome"] for row in rows].count("ok") == 2
        assert {row["target_id"] for row in rows if row["outcome"] == "ok"} == {"default/key:master"}
        gateway.stop()
        gateway = kept(float(limit), 0.00002)
        assert chat_once(gateway.port, CHAT, BEARER).status == 200, "what was forgiven stays so"
        gateway.stop()
    finally:
        gateway.kill()


def test_without_a_store_there_is_nothing_to_reset(budgeted):
    gateway = budgeted({"spend_limit_usd": 1})
    assert request_once(gateway.port, "GET", "/admin/budgets", headers=BEARER).status == 501


SEEDS = range(1, 1 + int(os.environ.get("DYNABUS_TEST_SEEDS", "2")))
PICO = 10**12
RESERVED = Decimal("0.00007")  # the most that one CHAT may cost, at the catalogue's prices
CLIENTS = 4


def spend_until_killed(gateway, seed):
    """Clients that ask while the gateway is killed: the cost of every answer that came."""
    rng = random.Random(seed)
    costs, lock = [], threading.Lock()

    def run():
        try:
            with Connection(gateway.port) as connection:
                while True:
                    answer = connection.chat(CHAT, BEARER)
                    if answer.status != 200:
                        return
                    with lock:
                        costs.append(Decimal(answer.header(COST)))
        except (OSError, ValueError):
            return

    threads = [threading.Thread(target=run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(0.02 + rng.random() * 0.15)
    gateway.kill()
    for thread in threads:
        thread.join()
    return sum(costs, Decimal(0))


def written(tmp_path):
    """What the store says may have been spent in all."""
    with sqlite3.connect(tmp_path / "kept.db") as store:
        return Decimal(store.execute("SELECT coalesce(sum(block), 0) FROM spend WHERE window=3").fetchone()[0]) / PICO


def test_killed_at_any_time_no_settled_spend_is_lost(kept, tmp_path):
    """Counted is at least what was settled, and at most a block and what was reserved more; and then exactly the rest can
    be spent."""
    block, limit = Decimal("0.0002"), Decimal("0.03")
    print(f"\n{'seed':>6} {'settled':>10} {'written':>10} {'too much':>10} {'block':>8} {'reserved':>9}")
    for seed in SEEDS:
        for path in tmp_path.glob("kept.db*"):
            path.unlink()
        gateway = kept(float(limit), float(block))
        settled = spend_until_killed(gateway, seed)
        after = written(tmp_path)
        print(f"{seed:>6} {settled:>10} {after:>10} {after - settled:>10} {block:>8} {CLIENTS * RESERVED:>9}")
        assert settled <= after <= settled + block + CLIENTS * RESERVED
        rest = after + 3 * RESERVED  # a budget that two or three requests are left of
        gateway = kept(float(rest), float(block))
        try:
            more, refusal = spend(gateway)
            gateway.stop()
        finally:
            gateway.kill()
        assert refusal.status == 402
        assert settled + more <= rest and more >= RESERVED


def test_the_only_overspend_is_what_was_billed_beyond_what_was_asked(start_gateway, upstream):
    """Each answer is billed 10 tokens too many: the last one that passes may pass the limit, by no more than that."""
    def bill(request, exchange):
        tokens = request.json()["max_tokens"] + 10
        exchange.json(completion(usage={"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": 3 + tokens}))

    upstream.reset_to(bill)
    config = {"spend_limit_usd": 1, "input_per_m_tokens": 1, "output_per_m_tokens": 10000}
    gateway = start_gateway([target(upstream.url)], environment={"MASTER_KEY": MASTER},
                            config={"plugins": plugins(config)})
    body = {"model": "test-model", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 15}
    statuses = [chat_once(gateway.port, body, BEARER).status for _ in range(8)]
    billed = Decimal(statuses.count(200)) * (Decimal(25) / 100 + Decimal("0.000003"))
    assert statuses == [200] * 4 + [402] * 4
    assert 1 < billed <= 1 + Decimal("0.1")
