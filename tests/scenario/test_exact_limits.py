"""Limits are exact, on real processes: in one with two cells, and in a fleet of 4 edges and 2 routers over tcp with
CURVE, whose routers lend them from the ledger. Each seed has users and a model of its own, so that all of them fit
into a few minutes of the clock; what passes is counted where it arrives, at the upstream."""

import hashlib
import json
import os
import random
import signal
import threading
import time

import pytest

from harness.fleet import MASTER_KEY, Fleet, until
from harness.gateway import target
from harness.http import Connection, Closed, chat_once, request_once

SEEDS = range(1, 1 + int(os.environ.get("DYNABUS_TEST_SEEDS", "2")))
MODELS = [f"{kind}-{seed}" for seed in range(1, 21) for kind in ("plain", "calm", "stop", "kill", "owner", "silent", "warm")]
BEARER = {"Authorization": f"Bearer {MASTER_KEY}"}
USER_RPM = 40
MODEL_RPM = 100
SECONDS = 12  # of one run at most
AFTERWARDS = 60  # requests more, when all have passed


def rate_limit(**config):
    return [{"name": "rate-limit", "type": "ratelimit", "stage": "before_request", "enabled": True,
             "config": {"model_rpm": MODEL_RPM, **config}}]


def body_of(model, user=None):
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    return {**body, "user": user} if user else body


def within_a_minute():
    """The limits' windows are minutes of the clock."""
    left = 60 - time.time() % 60
    if left < SECONDS + 3:
        time.sleep(left + 0.3)


class Crowd:
    """Clients that ask until it is over; what they got."""

    def __init__(self, ports, model, users, seed, clients=8):
        self.ports, self.model, self.users = ports, model, users
        self.rng = random.Random(seed)
        self.lock = threading.Lock()
        self.statuses = []
        self.by_user = {user: 0 for user in users}
        self.refused_in_a_row = 0
        self.ends_at = time.monotonic() + SECONDS
        self.threads = [threading.Thread(target=self.run, args=(random.Random(self.rng.random()),)) for _ in range(clients)]

    def is_over(self):
        return self.refused_in_a_row >= AFTERWARDS or time.monotonic() > self.ends_at

    def note(self, status, user):
        with self.lock:
            self.statuses.append(status)
            if status == 200:
                self.by_user[user] += 1
            self.refused_in_a_row = self.refused_in_a_row + 1 if status == 429 else 0

    def run(self, rng):
        connections = {}
        while not self.is_over():
            port, user = rng.choice(self.ports), rng.choice(self.users)
            try:
                if port not in connections:
                    connections[port] = Connection(port)
                answer = connections[port].chat(body_of(self.model, user), BEARER)
                self.note(answer.status, user)
            except (Closed, OSError):
                connections.pop(port, None)
                self.note(0, user)
            time.sleep(rng.random() * 0.01)
        for connection in connections.values():
            connection.close()

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def join(self):
        for thread in self.threads:
            thread.join()
        return self


def passed(upstream, model):
    return sum(1 for request in upstream.received() if json.loads(request.body)["model"] == model)


def check_calm(upstream, crowd, users):
    """Exactly so many of the model, never more of a user. A refusal by one limit that took from the other would leave
    less than the other's to the rest."""
    assert set(crowd.statuses) == {200, 429}
    assert passed(upstream, crowd.model) == crowd.statuses.count(200) == min(MODEL_RPM, USER_RPM * len(users))
    assert all(count <= USER_RPM for count in crowd.by_user.values())


def test_one_process_with_two_cells(start_gateway, upstream):
    gateway = start_gateway(
        [target(upstream.url, models=MODELS)], arguments=["--cells", "2"], environment={"MASTER_KEY": MASTER_KEY},
        config={"plugins": rate_limit(user_rpm=USER_RPM, algorithm="fixed_window")})
    print(f"\n{'seed':>6} {'users':>6} {'asked':>7} {'passed':>7} {'limit':>6}")
    for seed in SEEDS:
        users = [f"user-{seed}-{i}" for i in range(2 + seed % 3)]
        within_a_minute()
        crowd = Crowd([gateway.port], f"plain-{seed}", users, seed).start().join()
        check_calm(upstream, crowd, users)
        print(f"{seed:>6} {len(users):>6} {len(crowd.statuses):>7} {passed(upstream, crowd.model):>7} "
              f"{min(MODEL_RPM, USER_RPM * len(users)):>6}")


@pytest.fixture
def fleet(tmp_path, upstream):
    store = {"backend": "sqlite", "dsn": str(tmp_path / "store.db")}
    fleet = Fleet(tmp_path, upstream.url, routers=2, curve=True, store=store,
                  targets=[target(upstream.url, models=MODELS)], plugins=rate_limit(user_rpm=USER_RPM, scope="fleet"))
    fleet.owner = fleet.ledger()
    fleet.routers = [fleet.router(0), fleet.router(1)]
    fleet.provider()
    fleet.ports = [fleet.edge().port for _ in range(4)]
    for member in fleet.members[-4:]:
        member.wait_ready()
    ready(fleet, "warm-20")
    yield fleet
    fleet.close()


def ready(fleet, model):
    """Both routers reach provider and ledger."""
    for port in fleet.ports:
        until(lambda: [chat_once(port, body_of(model), BEARER).status for _ in range(4)] == [200] * 4
              or time.sleep(0.2), "requests pass")


def lease_lost(fleet, model):
    """What the ledger says that the dead had, of the limit of that model."""
    inner = hashlib.sha256(model.encode()).digest()
    text = f"rate-limit model requests {MODEL_RPM}/60000000 ".encode() + inner
    name = "lease/" + hashlib.sha256(text).digest()[:16].hex()
    lines = [json.loads(line) for line in fleet.owner.log().splitlines() if "ledger.lease_lost" in line]
    return sum(line["open"] for line in lines if line["limit"] == name)


def test_a_fleet_passes_exactly_so_many(fleet, upstream):
    print(f"\n{'seed':>6} {'users':>6} {'asked':>7} {'passed':>7} {'limit':>6}")
    for seed in SEEDS:
        users = [f"user-{seed}-{i}" for i in range(2 + seed % 3)]
        within_a_minute()
        crowd = Crowd(fleet.ports, f"calm-{seed}", users, seed).start().join()
        check_calm(upstream, crowd, users)
        print(f"{seed:>6} {len(users):>6} {len(crowd.statuses):>7} {passed(upstream, crowd.model):>7} "
              f"{min(MODEL_RPM, USER_RPM * len(users)):>6}")
    fleet.stop()


def run_with_a_loss(fleet, upstream, model, seed, end):
    """One router ends when a part of the limit has passed. What passed, what was on its way, what the ledger counts as
    lost."""
    ready(fleet, f"warm-{seed}")
    within_a_minute()
    after = random.Random(seed).randrange(10, 80)
    crowd = Crowd(fleet.ports, model, [None], seed).start()
    until(lambda: crowd.statuses.count(200) >= after, "a part has passed")
    which = seed % 2
    fleet.routers[which].child.send_signal(end)
    fleet.routers[which].child.wait()
    crowd.join()
    open_lease = 0
    if passed(upstream, model) < MODEL_RPM:
        deadline = time.monotonic() + 4
        while lease_lost(fleet, model) == 0 and time.monotonic() < deadline:
            chat_once(fleet.ports[0], body_of(model), BEARER)
            time.sleep(0.05)
        open_lease = lease_lost(fleet, model)
    fleet.routers[which] = fleet.router(which)
    broken = sum(1 for status in crowd.statuses if status not in (200, 429))
    return crowd, passed(upstream, model), broken, open_lease, after


def test_a_router_that_dies_takes_its_lease_with_it(fleet, upstream):
    print(f"\n{'seed':>6} {'killed at':>10} {'asked':>7} {'passed':>7} {'broken':>7} {'open lease':>11} {'limit':>6}")
    for seed in SEEDS:
        crowd, count, broken, open_lease, after = run_with_a_loss(fleet, upstream, f"kill-{seed}", seed, signal.SIGKILL)
        print(f"{seed:>6} {after:>10} {len(crowd.statuses):>7} {count:>7} {broken:>7} {open_lease:>11} {MODEL_RPM:>6}")
        assert count <= MODEL_RPM
        assert count + broken >= MODEL_RPM - open_lease
        assert open_lease <= MODEL_RPM * 3 // 8  # a fourth, and what was left of the piece before


def test_a_router_that_is_stopped_gives_its_lease_back(fleet, upstream):
    print(f"\n{'seed':>6} {'stopped at':>10} {'asked':>7} {'passed':>7} {'limit':>6}")
    for seed in list(SEEDS)[:5]:
        crowd, count, broken, open_lease, after = run_with_a_loss(fleet, upstream, f"stop-{seed}", seed, signal.SIGTERM)
        print(f"{seed:>6} {after:>10} {len(crowd.statuses):>7} {count:>7} {MODEL_RPM:>6}")
        assert (count, broken, open_lease) == (MODEL_RPM, 0, 0)


def test_a_ledger_that_is_killed_goes_on_with_what_it_wrote(fleet, upstream):
    """What it may have lent was written before: the one after it lends the rest. At most what lay in the routers' pieces and
    a sixteenth of the limit do not pass in that minute."""
    print(f"\n{'seed':>6} {'killed at':>10} {'asked':>7} {'passed':>7} {'limit':>6}")
    for seed in list(SEEDS)[:5]:
        model = f"owner-{seed}"
        ready(fleet, f"warm-{seed}")
        within_a_minute()
        after = random.Random(seed).randrange(10, 60)
        crowd = Crowd(fleet.ports, model, [None], seed).start()
        until(lambda: crowd.statuses.count(200) >= after, "a part has passed")
        fleet.owner.kill()
        fleet.owner = fleet.ledger()
        crowd.join()
        count = passed(upstream, model)
        print(f"{seed:>6} {after:>10} {len(crowd.statuses):>7} {count:>7} {MODEL_RPM:>6}")
        assert set(crowd.statuses) == {200, 429}
        assert MODEL_RPM // 2 <= count <= MODEL_RPM


def test_without_a_ledger_what_was_lent_is_used_and_then_nothing(fleet, upstream):
    model = "silent-1"
    within_a_minute()
    chat_once(fleet.ports[0], body_of(model), BEARER)
    fleet.owner.kill()
    crowd = Crowd(fleet.ports, model, [None], 1).start().join()
    assert set(crowd.statuses) == {200, 429}
    assert 1 <= passed(upstream, model) <= MODEL_RPM * 3 // 8
    answer = chat_once(fleet.ports[0], body_of(model), BEARER)
    assert answer.status == 429 and int(answer.header("retry-after")) >= 1


def is_known(port, headers):
    return request_once(port, "GET", "/v1/models", headers=headers).status == 200


def test_what_stands_in_a_key_holds_over_all_routers(fleet, upstream):
    """Its requests of a minute, and its money of a day, whichever router is asked."""
    record = {"name": "one of many", "limits": {"requests_per_minute": 30}}
    answer = request_once(fleet.ports[0], "POST", "/admin/keys", body=json.dumps(record).encode(),
                          headers={**BEARER, "Content-Type": "application/json"})
    assert answer.status in (200, 201), answer
    own = {"Authorization": f"Bearer {answer.json()['key']}"}
    for port in fleet.ports:  # known to all routers, within a second of being made; an edge asks one after the other
        until(lambda: all(is_known(port, own) for _ in range(8)) or time.sleep(0.05), "known")
    within_a_minute()
    model = "calm-20"
    before = passed(upstream, model)
    statuses, lock = [], threading.Lock()

    def run(port):
        with Connection(port) as connection:
            for _ in range(25):
                status = connection.chat(body_of(model), own).status
                with lock:
                    statuses.append(status)

    threads = [threading.Thread(target=run, args=(port,)) for port in fleet.ports * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 429}
    assert statuses.count(200) == passed(upstream, model) - before == 30
