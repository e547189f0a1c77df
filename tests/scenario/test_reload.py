"""Another configuration for a gateway that runs: what is taken up, what is refused, and what clients notice of it."""

import json
import os
import signal
import threading
import time

import pytest

from harness.bus import Client, new_id
from harness.fleet import MASTER_KEY, Fleet, free_base, until
from harness.gateway import Gateway, run_to_end, target, write_config
from harness.http import Closed, Connection, request_once, sse_events
from harness.process import FLAT_MEMORY
from harness.upstream import DONE, chunk_event, completion

GOOD = json.dumps({"model": "test-model", "messages": [{"role": "user", "content": "x"}]}).encode()
STREAM = json.dumps({"model": "test-model", "stream": True, "messages": [{"role": "user", "content": "x"}]}).encode()
CHAT = "/v1/chat/completions"
PATIENCE_SECONDS = 20
RELOADS = 200
ROUND = 100
MOST_RELOADS = 600
FLAT_RATIO = 1.1
CONNECTIONS = 64


def ready(gateway):
    return request_once(gateway.port, "GET", "/readyz").json()


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not {what} within {PATIENCE_SECONDS} s")


def replace(gateway, targets, **keys):
    """As editors and Kubernetes do it: another file takes the name."""
    fresh = gateway.config_path.with_suffix(".new.yaml")
    write_config(fresh, targets, **keys)
    os.replace(fresh, gateway.config_path)


def reload(gateway, targets, **keys):
    """In force when this returns."""
    before = ready(gateway)["config"]
    replace(gateway, targets, **keys)
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: ready(gateway)["config"] != before, "in force")


def names(gateway):
    return [entry["name"] for entry in ready(gateway)["targets"]]


def refusal(gateway, count=1):
    return wait_for(
        lambda: gateway.log_lines(event="gateway.reload.refused")[count - 1:count], "refused")[0]["reason"]


def metric(gateway, name):
    page = request_once(gateway.port, "GET", "/metrics").body.decode()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in page.splitlines()
            if line.startswith(name)}


@pytest.fixture
def two_cells(start_gateway, upstream):
    return start_gateway([target(upstream.url, name="first")], arguments=["--cells", "2"],
                         config={"reload": {"watch": False}})


def chat(gateway):
    return request_once(gateway.port, "POST", CHAT, GOOD)


def test_sighup_takes_up_other_targets(two_cells, upstream):
    assert chat(two_cells).header("x-dynabus-target") == "first"
    reload(two_cells, [target(upstream.url, name="second"), target(upstream.url, name="third", models=["other"])])
    assert names(two_cells) == ["second", "third"]
    for _ in range(8):  # on both cells
        assert chat(two_cells).header("x-dynabus-target") == "second"
    models = request_once(two_cells.port, "GET", "/v1/models").json()["data"]
    assert {"test-model", "other"} <= {model["id"] for model in models}
    assert metric(two_cells, "gateway_config_version") == {"gateway_config_version": 2}
    assert metric(two_cells, "gateway_config_reloads_total")['gateway_config_reloads_total{result="applied"}'] == 1


def test_a_changed_target_is_called_in_the_new_way(two_cells, upstream):
    chat(two_cells)
    reload(two_cells, [target(upstream.url, name="first", headers={"x-tenant": "blue"})])
    chat(two_cells)
    assert upstream.received()[0].header("x-tenant") is None
    assert upstream.received()[-1].header("x-tenant") == "blue"


def test_a_target_that_stays_keeps_its_connection(start_gateway, upstream):
    ports = []

    def note(request, exchange):
        ports.append(exchange.socket.getpeername()[1])
        exchange.json(completion())

    upstream.reset_to(note)
    gateway = start_gateway([target(upstream.url, name="first")], arguments=["--cells", "1"])
    chat(gateway)
    reload(gateway, [target(upstream.url, name="new", models=["other"]), target(upstream.url, name="first")],
           max_attempts=2)
    chat(gateway)
    assert ports[0] == ports[1]


def test_requests_in_flight_end_at_a_target_that_is_gone(two_cells, upstream):
    go_on = threading.Event()

    def slowly(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("hel"))
        go_on.wait(PATIENCE_SECONDS)
        exchange.chunk(chunk_event("lo"))
        exchange.chunk(DONE)
        exchange.end_stream()

    def plainly(request, exchange):
        go_on.wait(PATIENCE_SECONDS)
        exchange.json(completion("late"))

    upstream.reset_to(lambda request, exchange: (slowly if request.json().get("stream") else plainly)(request, exchange))
    answers = {}

    def ask(name, body):
        answers[name] = request_once(two_cells.port, "POST", CHAT, body)

    asking = [threading.Thread(target=ask, args=(f"{kind}-{i}", body))
              for i in range(4) for kind, body in (("stream", STREAM), ("plain", GOOD))]
    for thread in asking:
        thread.start()
    upstream.wait_received(len(asking))
    reload(two_cells, [target(upstream.url, name="second", models=["other"])])
    assert chat(two_cells).status == 404
    go_on.set()
    for thread in asking:
        thread.join(PATIENCE_SECONDS)
    for name, answer in answers.items():
        assert answer.status == 200, (name, answer)
        assert answer.header("x-dynabus-target") == "first"
        assert "lo" in str(sse_events(answer.body)) if name.startswith("stream") else b"late" in answer.body
    assert len(answers) == len(asking)
    reload(two_cells, [target(upstream.url, name="third")])
    upstream.reset_to(lambda request, exchange: exchange.json(completion()))
    assert chat(two_cells).header("x-dynabus-target") == "third"


@pytest.mark.parametrize("text, expected", [
    ('{"targets": [', "error"),
    ('{"targetss": []}', "did you mean 'targets'"),
    ('{"targets": [{"name": "x", "provider": "openai", "api_key": "${NOT_SET_ANYWHERE}"}]}', "NOT_SET_ANYWHERE"),
    ("# " + "x" * (2 << 20), "larger than"),
    ('{"targets": [{"name": "x", "provider": "nobody"}]}', "nobody"),
    ("a\0b", "error"),
])
def test_a_bad_file_changes_nothing_and_says_why(two_cells, text, expected):
    before = ready(two_cells)
    two_cells.config_path.write_text(text)
    two_cells.signal(signal.SIGHUP)
    assert expected in refusal(two_cells)
    assert ready(two_cells) == before
    assert chat(two_cells).status == 200
    assert metric(two_cells, "gateway_config_version") == {"gateway_config_version": 1}
    assert metric(two_cells, "gateway_config_reloads_total")['gateway_config_reloads_total{result="refused"}'] == 1


def test_a_file_that_is_gone_changes_nothing(two_cells, upstream):
    two_cells.config_path.unlink()
    two_cells.signal(signal.SIGHUP)
    assert "cannot be read" in refusal(two_cells)
    assert chat(two_cells).status == 200
    two_cells.config_path.mkdir()
    two_cells.signal(signal.SIGHUP)
    assert "cannot be read" in refusal(two_cells, 2)
    two_cells.config_path.rmdir()
    write_config(two_cells.config_path, [target(upstream.url, name="again")])
    two_cells.signal(signal.SIGHUP)
    wait_for(lambda: names(two_cells) == ["again"], "in force")


def by_header(name, value):
    return {"mode": "conditional", "conditions": [{"key": f"header.{name}", "value": value, "target_key": "second"}]}


def two_targets(upstream):
    return [target(upstream.url, name="first"), target(upstream.url, name="second")]


def asks_with(gateway, **headers):
    """Who answers, asked on several connections: on both cells."""
    answers = [request_once(gateway.port, "POST", CHAT, GOOD, {"Authorization": f"Bearer {MASTER_KEY}", **headers})
               for _ in range(8)]
    return {answer.header("x-dynabus-target") for answer in answers}


def test_a_rule_about_a_header_holds_after_a_reload(two_cells, upstream):
    reload(two_cells, two_targets(upstream), strategy={"mode": "single"}, reload={"watch": False})
    assert asks_with(two_cells, **{"x-team": "blue"}) == {"first"}
    reload(two_cells, two_targets(upstream), strategy=by_header("X-Team", "blue"), reload={"watch": False})
    assert asks_with(two_cells, **{"x-team": "blue"}) == {"second"}
    assert asks_with(two_cells, **{"x-team": "red"}) == {"first"}
    reload(two_cells, two_targets(upstream), strategy=by_header("x-house", "blue"), reload={"watch": False})
    assert asks_with(two_cells, **{"x-team": "blue"}) == {"first"}
    assert asks_with(two_cells, **{"x-house": "blue"}) == {"second"}


def test_another_header_sticks_after_a_reload(two_cells, upstream):
    def sticky(header):
        return {"mode": "sticky", "sticky": {"by": "header", "header": header}}

    reload(two_cells, two_targets(upstream), strategy=sticky("x-one"), reload={"watch": False})
    reload(two_cells, two_targets(upstream), strategy=sticky("x-two"), reload={"watch": False})
    for user in range(10):
        assert len(asks_with(two_cells, **{"x-two": f"user-{user}"})) == 1


def test_the_same_again_is_no_new_version(two_cells):
    two_cells.signal(signal.SIGHUP)
    key = 'gateway_config_reloads_total{result="unchanged"}'
    wait_for(lambda: metric(two_cells, "gateway_config_reloads_total")[key] == 1, "counted")
    assert metric(two_cells, "gateway_config_version") == {"gateway_config_version": 1}


def test_what_needs_a_restart_is_named_with_its_line(two_cells, upstream):
    replace(two_cells, [target(upstream.url, name="second")], cells=7, max_request_bytes=4096)
    two_cells.signal(signal.SIGHUP)
    wait_for(lambda: names(two_cells) == ["second"], "in force")
    lines = two_cells.config_path.read_text().splitlines()
    told = {entry["key"]: entry["line"] for entry in two_cells.log_lines(event="gateway.reload.restart")}
    assert {"cells", "max_request_bytes"} <= set(told)
    for key in ("cells", "max_request_bytes"):
        assert f'"{key}"' in lines[told[key] - 1]


def test_a_changed_file_is_taken_up_by_itself(start_gateway, upstream):
    gateway = start_gateway([target(upstream.url, name="first")])
    replace(gateway, [target(upstream.url, name="second")])
    wait_for(lambda: names(gateway) == ["second"], "taken up")
    write_config(gateway.config_path, [target(upstream.url, name="third")])  # in place
    wait_for(lambda: names(gateway) == ["third"], "taken up")
    gateway.config_path.write_text("targets: [")
    assert "error" in refusal(gateway)
    assert names(gateway) == ["third"]
    gateway.config_path.unlink()
    wait_for(lambda: gateway.log_lines(event="gateway.watch"), "noticed")
    write_config(gateway.config_path, [target(upstream.url, name="fourth")])
    wait_for(lambda: names(gateway) == ["fourth"], "taken up")


def test_a_link_to_another_file_is_taken_up(tmp_path, start_gateway, upstream):
    """As Kubernetes mounts a ConfigMap: the name is a link through a folder that is replaced."""
    gateway = start_gateway([target(upstream.url, name="first")])
    for number, name in enumerate(("second", "third")):
        folder = tmp_path / f"data-{number}"
        folder.mkdir()
        write_config(folder / "config.yaml", [target(upstream.url, name=name)])
        link = tmp_path / "fresh"
        link.symlink_to(folder / "config.yaml")
        os.replace(link, gateway.config_path)
        wait_for(lambda: names(gateway) == [name], "taken up")


def test_two_reloads_at_once_are_two_reloads(two_cells, upstream):
    for round_number in range(10):
        reload(two_cells, [target(upstream.url, name=f"name-{round_number}")])
        for _ in range(5):
            two_cells.signal(signal.SIGHUP)
    assert names(two_cells) == ["name-9"]
    assert chat(two_cells).header("x-dynabus-target") == "name-9"


def test_a_reload_while_it_drains_does_no_harm(two_cells, upstream):
    go_on = threading.Event()

    def late(request, exchange):
        go_on.wait(PATIENCE_SECONDS)
        exchange.json(completion("late"))

    upstream.reset_to(late)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(chat(two_cells)))
    asking.start()
    upstream.wait_received(1)
    two_cells.signal(signal.SIGTERM)
    replace(two_cells, [target(upstream.url, name="second")])
    two_cells.signal(signal.SIGHUP)
    time.sleep(0.2)
    go_on.set()
    asking.join(PATIENCE_SECONDS)
    assert answers[0].status == 200


# ---- over the bus ----

@pytest.fixture
def fleet(tmp_path, upstream):
    fleet = Fleet(tmp_path, upstream.url, routers=1, cells=2, reload={"watch": False})
    try:
        yield fleet
        fleet.stop()
    finally:
        fleet.close()


def rewrite(fleet, targets, **keys):
    config = json.loads(fleet.config.read_text())
    fleet.config.write_text(json.dumps({**config, "targets": targets, **keys}, indent=2))


def ask_for_reload(fleet, directory, *arguments):
    return run_to_end(["reload", "--bus", fleet.endpoints[0], *arguments], directory)


def members(edge):
    """Until a router has come nobody can say."""
    targets = request_once(edge.port, "GET", "/readyz").json().get("targets")
    return targets[0]["members"] if targets else 0


def test_a_fleet_reloads_over_the_bus(fleet, tmp_path, upstream):
    edge = fleet.start()
    second = fleet.provider()
    master = {"Authorization": f"Bearer {MASTER_KEY}"}
    until(lambda: members(edge) == 4, "two workers of two cells")

    def asked():
        return request_once(edge.port, "POST", CHAT, GOOD, master)

    assert asked().header("x-dynabus-target") == "upstream"
    rewrite(fleet, [target(upstream.url, name="other"), target(upstream.url, name="more", models=["m"])])
    code, text = ask_for_reload(fleet, tmp_path)
    answers = [line.split() for line in text.splitlines() if "version" in line]
    assert code == 0, text
    assert len(answers) == 4, text  # router, two providers, edge: each once
    assert {answer[1] for answer in answers} == {"applied"}
    assert len({answer[0] for answer in answers}) == 4 and len({answer[4] for answer in answers}) == 1
    until(lambda: asked().header("x-dynabus-target") == "other", "the new target answers")
    for _ in range(8):
        assert asked().status == 200
    assert request_once(edge.port, "GET", "/readyz").json()["config"] == answers[0][4]
    code, text = ask_for_reload(fleet, tmp_path, "--expect", "0123456789abcdef")
    assert code == 1 and text.count("refused") == 4, text
    fleet.config.write_text("targets: [")
    code, text = ask_for_reload(fleet, tmp_path)
    assert code == 1 and "what was in force there stays" in text
    assert asked().header("x-dynabus-target") == "other"
    assert second.child.poll() is None


def test_an_edge_of_its_own_hands_on_the_headers_of_new_rules(fleet, tmp_path, upstream):
    edge = fleet.start()
    rewrite(fleet, two_targets(upstream), strategy=by_header("x-team", "blue"))
    code, text = ask_for_reload(fleet, tmp_path)
    assert code == 0, text
    until(lambda: asks_with(edge, **{"x-team": "red"}) == {"first"}, "the new targets answer")
    until(lambda: asks_with(edge, **{"x-team": "blue"}) == {"second"}, "the new rule holds")


def test_only_an_administrator_may_ask(start_gateway, upstream):
    base = free_base()
    gateway = start_gateway([target(upstream.url)], config={"bus": {"listen": f"tcp://127.0.0.1:{base}"}})
    client = Client(f"tcp://127.0.0.1:{base}")
    client.send("config", id=new_id())
    assert client.until("goodbye")[0]["reason"] == "role"
    client.close()
    assert not gateway.log_lines(event="gateway.reload.asked")


# ---- under load ----

class Load:
    """CONNECTIONS clients that ask without a pause, every fourth a stream; each answer is looked at."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.stopping = False
        self.failures = []
        self.answered = 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CONNECTIONS)]
        for thread in self.threads:
            thread.start()

    def _is_whole(self, answer, is_stream):
        if answer.status != 200:
            return False
        if is_stream:
            return answer.body.rstrip().endswith(b"data: [DONE]") and b'"error"' not in answer.body
        return answer.json()["choices"][0]["finish_reason"] == "stop"

    def _run(self, number):
        is_stream = number % 4 == 0
        body = json.dumps({"model": "mock", "stream": is_stream,
                           "messages": [{"role": "user", "content": "hello"}]}).encode()
        answered = 0
        try:
            with Connection(self.gateway.port) as connection:
                while not self.stopping:
                    answer = connection.request("POST", CHAT, body)
                    if not self._is_whole(answer, is_stream):
                        self.failures.append(answer)
                        break
                    answered += 1
        except (OSError, Closed) as error:
            self.failures.append(error)
        with self.lock:
            self.answered += answered

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
        assert not self.failures, (len(self.failures), self.failures[:3])
        return self.answered


TO_BESIDE = [{"key": "header.x-load", "value": "none", "target_key": "beside"}]
STRATEGIES = (
    {"strategy": {"mode": "loadbalance"}},
    {"strategy": {"mode": "conditional", "conditions": TO_BESIDE}, "aliases": {"quick": "mock"}},
    {"strategy": {"mode": "cost-optimized"},
     "models": {"prices": [{"provider": "stays", "model": "mock", "input_per_m_tokens": 1, "output_per_m_tokens": 2}]}},
    {"strategy": {"mode": "least-busy"}},
)


def variant(url, number):
    """Each differs from the one before: a target is added, renamed, changed or taken away, or the way to choose."""
    stays = target(url, name="stays", models=["mock"])
    kinds = (
        ([target(url, name=f"name-{number}", models=["mock"]), stays], {}),
        ([stays, target(url, name="changes", models=["mock"], headers={"x-number": str(number)})], {}),
        ([stays], {"max_attempts": 1 + number % 4}),
        ([stays, target(url, name="beside", models=["mock"], weight=1)], STRATEGIES[number // 5 % len(STRATEGIES)]),
        ([target(url, name="changes", models=["mock"], headers={"x-number": str(number)})], {}),
    )
    targets, keys = kinds[number % len(kinds)]
    return targets, {"reload": {"watch": False}, **keys}


COUNTED = 150
COST_USD = 73e-6
BUDGET_USD = 0.0115


def counting(number):
    """Limits that stay, in entries that change: a filter anew each time, and now and then what is beside a limit."""
    limits = [
        {"name": "rate-limit", "type": "ratelimit", "stage": "before_request", "enabled": True,
         "config": {"requests_per_second": 0.001, "burst": COUNTED, "headers": number % 4 == 0}},
        {"name": "budget", "type": "ratelimit", "enabled": True, "stages": ["before_request", "after_request", "on_error"],
         "config": {"spend_limit_usd": BUDGET_USD, "input_per_m_tokens": 1, "output_per_m_tokens": 10}},
        {"name": "word-filter", "type": "guardrail", "stage": "before_request", "enabled": True,
         "config": {"blocked_words": [f"word{number}"]}},
    ]
    return limits if number % 2 == 0 else [limits[2], limits[0], limits[1]]


def test_20_reloads_under_load_lose_no_count_and_double_none(start_gateway, upstream):
    usage = {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
    upstream.reset_to(lambda request, exchange: exchange.json(completion(usage=usage)))
    targets = [target(upstream.url)]
    gateway = start_gateway(targets, arguments=["--cells", "2"], environment={"MASTER_KEY": MASTER_KEY},
                            config={"plugins": counting(0), "reload": {"watch": False}})
    body = json.dumps({"model": "test-model", "max_tokens": 7, "messages": [{"role": "user", "content": "x"}]}).encode()
    statuses, stopping = [], []

    def ask():
        return request_once(gateway.port, "POST", CHAT, body, {"Authorization": f"Bearer {MASTER_KEY}"}).status

    def load():
        while not stopping or statuses.count(429) == 0:
            statuses.append(ask())
            time.sleep(0.005)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 21):
        reload(gateway, targets, plugins=counting(number), reload={"watch": False})
    stopping.append(True)
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert set(statuses) == {200, 429} and statuses.count(200) == COUNTED
    reload(gateway, targets, plugins=[counting(20)[1]], reload={"watch": False})  # the budget alone
    spent = COUNTED
    while ask() == 200:
        spent += 1
    most_of_one = 2 * COST_USD
    assert BUDGET_USD - most_of_one <= spent * COST_USD <= BUDGET_USD


def test_200_reloads_under_load_fail_no_request(tmp_path, mock):
    targets, keys = variant(mock.url, 0)
    gateway = Gateway(tmp_path, targets, arguments=["--cells", "2"], config=keys,
                      environment={"LOG_LEVEL": "warn", **FLAT_MEMORY})
    try:
        gateway.wait_ready()
        load = Load(gateway)
        reloads, peaks = 0, []
        # A process grows until it has what its load needs; one that leaks grows in every round.
        while reloads < RELOADS or (peaks[-1] > peaks[-2] * FLAT_RATIO and reloads < MOST_RELOADS):
            peak = 0
            for reloads in range(reloads + 1, reloads + ROUND + 1):
                targets, keys = variant(mock.url, reloads)
                reload(gateway, targets, **keys)
                time.sleep(0.02)
                if reloads % 10 == 0:
                    peak = max(peak, gateway.resident_bytes())
            peaks.append(peak)
        answered = load.stop()
        assert answered > reloads
        assert metric(gateway, "gateway_config_version") == {"gateway_config_version": reloads + 1}
        assert peaks[-1] <= peaks[-2] * FLAT_RATIO, peaks
        gateway.stop()
    finally:
        gateway.kill()
