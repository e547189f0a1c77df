"""Plugins that vote over the bus, on the real binary: every verdict at every stage, time limits, policies, and
processes that come and go."""

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgpack
import pytest
import zmq

from harness.bus import Client, free_base
from harness.gateway import run_to_end, target, write_config
from harness.http import chat_once, request_once
from harness.plugin import ScriptedPlugin, edits
from harness.upstream import answer_normally, completion

BODY = {"model": "test-model", "messages": [{"role": "user", "content": "hello"}]}
CLEAR = {"verdict": "pass"}


def entry(name="judge", **more):
    return {"name": name, "type": "guardrail", "enabled": True, "timeout": "5s", **more}


@pytest.fixture
def scene(start_gateway, upstream):
    """start(*entries) gives a gateway and its endpoint for plugins."""
    opened = []

    def start(*entries, **more):
        base = free_base()
        gateway = start_gateway([target(upstream.url)],
                                config={"bus": {"listen": f"tcp://127.0.0.1:{base}"}, "plugins": list(entries), **more})
        gateway.plugins = f"tcp://127.0.0.1:{base + 1}"
        return gateway

    def join(gateway, vote, **said):
        opened.append(ScriptedPlugin(gateway.plugins, vote, **said))
        name = said.get("name", "judge")
        gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) >= 1, f"{name} joins")
        return opened[-1]

    start.join = join
    yield start
    for plugin in opened:
        plugin.close()


def test_a_denial_before_the_request(scene, upstream):
    gateway = scene(entry())
    scene.join(gateway, lambda ask, body: {"verdict": "deny", "err_text": "not today", "status": 418, "retry_s": 7,
                                           "headers": [["x-why", b"because"]]})
    before = len(upstream.received())
    answer = chat_once(gateway.port, BODY)
    assert answer.status == 418
    assert answer.error["code"] == "request_rejected"
    assert answer.error["message"] == "request rejected by plugin judge at before_request: not today"
    assert answer.header("x-why") == "because"
    assert answer.header("retry-after") == "7"
    assert len(upstream.received()) == before


@pytest.mark.parametrize("kind, status, code", [("guardrail", 400, "request_rejected"),
                                                ("ratelimit", 429, "rate_limit_exceeded")])
def test_the_status_of_a_denial_follows_from_the_type(scene, kind, status, code):
    gateway = scene(entry(type=kind))
    scene.join(gateway, lambda ask, body: {"verdict": "deny"})
    answer = chat_once(gateway.port, BODY)
    assert (answer.status, answer.error["code"]) == (status, code)


def test_facts_texts_and_bodies_by_need(scene):
    gateway = scene(entry("facts"), entry("texts"), entry("bytes"))
    facts = scene.join(gateway, lambda ask, body: dict(CLEAR), name="facts", needs=["counts"])
    texts = scene.join(gateway, lambda ask, body: dict(CLEAR), name="texts", needs=["text"])
    whole = scene.join(gateway, lambda ask, body: dict(CLEAR), name="bytes", needs=["body"])
    gateway.wait_until(lambda: len({line["plugin"] + line["node"] for line in
                                    gateway.log_lines(event="router.plugin.joined")}) >= 3, "all have joined")
    assert chat_once(gateway.port, BODY | {"user": "u1", "max_tokens": 9}).status == 200
    told, body = facts.asks[0]
    assert body == b""
    assert told["facts"]["model"] == "test-model" and told["facts"]["user"] == "u1"
    assert told["facts"]["messages"] == 1 and told["facts"]["in_bytes"] == 5 and told["facts"]["max_tokens"] == 9
    said = msgpack.unpackb(texts.asks[0][1])
    assert said["uninspectable"] is False
    assert said["texts"] == [{"role": "user", "kind": "text", "at": "/messages/0/content", "text": "hello"}]
    assert json.loads(whole.asks[0][1])["user"] == "u1"


def test_an_amended_request_keeps_what_was_not_named(scene, upstream):
    gateway = scene(entry())
    scene.join(gateway, lambda ask, body: {"verdict": "amend", "body": edits(
        ("replace", "/messages/0/content", '"h***o"'), ("add", "/user", '"somebody"'), ("remove", "/seed"))},
        amends=True)
    sent = '{"seed":1 , "model":"test-model","messages":[{"role":"user","content":"hello"}],  "temperature": 0.50}'
    assert chat_once(gateway.port, sent.encode()).status == 200
    got = upstream.received()[-1].body
    assert got == (b'{"model":"test-model","messages":[{"role":"user","content":"h***o"}],  "temperature": 0.50'
                   b',"user":"somebody"}')


@pytest.mark.parametrize("wrong", [
    edits(("replace", "/nowhere", "1")), edits(("replace", "/model", "{")), edits(("remove", "/messages")),
    edits(("replace", "/model", '"a"'), ("replace", "/model", '"b"')), b"\xc1", b"",
])
def test_edits_that_cannot_be_made_are_refused_whole(scene, upstream, wrong):
    gateway = scene(entry())
    scene.join(gateway, lambda ask, body: {"verdict": "amend", "body": wrong}, amends=True)
    before = len(upstream.received())
    answer = chat_once(gateway.port, BODY)
    assert (answer.status, answer.error["code"]) == (500, "plugin_error")
    assert len(upstream.received()) == before


def test_who_does_not_say_that_it_amends_may_not(scene):
    gateway = scene(entry())
    scene.join(gateway, lambda ask, body: {"verdict": "amend", "body": edits(("replace", "/model", '"x"'))})
    assert chat_once(gateway.port, BODY).status == 500


def test_an_answer_instead_of_a_provider(scene, upstream):
    gateway = scene(entry("cache"), entry("guard"))
    scene.join(gateway, lambda ask, body: {"verdict": "answer", "body": b'{"object":"chat.completion","choices":[]}',
                                           "headers": [["x-dynabus-cache", b"hit"]]}, name="cache", answers=True)
    verdicts = [dict(CLEAR), {"verdict": "deny", "err_text": "no"}]
    guard = scene.join(gateway, lambda ask, body: verdicts[len(guard.asks) // 3 > 0], name="guard",
                       stages=["before_request", "after_request"], needs=["body"])
    gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) >= 2, "both have joined")
    before = len(upstream.received())
    answer = chat_once(gateway.port, BODY)
    assert answer.status == 200 and answer.json() == {"object": "chat.completion", "choices": []}
    assert answer.header("x-dynabus-cache") == "hit"
    assert [ask["stage"] for ask, _ in guard.asks] == ["before_request", "after_request"]
    assert guard.asks[1][0]["facts"]["by"] == "cache"
    refused = chat_once(gateway.port, BODY)  # its third ask: guardrails still run
    assert (refused.status, refused.error["code"]) == (400, "request_rejected")
    assert len(upstream.received()) == before


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wrong", [{"body": b"garbage"}, {"body": b"{}"}, {"status": 500}, {"status": 404}])
def test_an_answer_that_is_none_is_a_failure(scene, wrong, stream):
    gateway = scene(entry())
    good = {"verdict": "answer", "body": json.dumps(completion("answered")).encode()}
    scene.join(gateway, lambda ask, body: {**good, **wrong}, answers=True)
    answer = chat_once(gateway.port, BODY | {"stream": stream})
    assert (answer.status, answer.error["code"]) == (500, "plugin_error")


def test_headers_that_are_not_a_plugins(scene):
    gateway = scene(entry())
    scene.join(gateway, lambda ask, body: {"verdict": "pass", "headers": [
        ["Content-Type", b"text/html"], ["set-cookie", b"a=b"], ["x-request-id", b"mine"], ["x-mine", b"yes"]]})
    answer = chat_once(gateway.port, BODY)
    names = [name for name, _ in answer.headers]
    assert answer.header("content-type") == "application/json" and answer.header("x-mine") == "yes"
    assert names.count("content-type") == 1 and names.count("x-request-id") == 1 and "set-cookie" not in names


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_kept_of_an_answer_is_amended_once(scene, stream):
    gateway = scene({"name": "response-cache", "enabled": True}, entry(stage="after_request"), cells=1)

    def advertise(ask, body):
        text = json.loads(body)["choices"][0]["message"]["content"]
        return {"verdict": "amend", "body": edits(("replace", "/choices/0/message/content", json.dumps(text + " [ad]")))}

    scene.join(gateway, advertise, stages=["after_request"], needs=["body"], amends=True)
    first = chat_once(gateway.port, BODY)
    assert first.json()["choices"][0]["message"]["content"] == "hello [ad]"
    for _ in range(2):
        hit = chat_once(gateway.port, BODY | {"stream": stream})
        assert hit.header("x-dynabus-cache") == "hit"
        assert hit.body.count(b"[ad]") == 1


def test_after_a_plain_answer(scene, upstream):
    gateway = scene(entry())
    votes = [{"verdict": "deny", "err_text": "no such answer"},
             {"verdict": "amend", "body": edits(("replace", "/choices/0/message/content", '"amended"'))}]
    judge = scene.join(gateway, lambda ask, body: votes[len(judge.asks) - 1], stages=["after_request"], needs=["body"],
                       amends=True)
    answer = chat_once(gateway.port, BODY)
    assert (answer.status, answer.error["code"]) == (502, "response_rejected")
    assert "no such answer" in answer.error["message"]
    told = judge.asks[0][0]["facts"]
    assert told["status"] == 200 and told["target"] == "upstream" and told["usage"]["total"] > 0
    assert chat_once(gateway.port, BODY).json()["choices"][0]["message"]["content"] == "amended"


def answer_of(size):
    def answer(request, exchange):
        exchange.json({"id": "x", "object": "chat.completion", "model": "test-model", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "x" * size}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})
    return answer


@pytest.mark.parametrize("size", [100, 70_000, 900_000])
def test_a_long_answer_is_held_whatever_pieces_it_comes_in(scene, upstream, size):
    gateway = scene(entry())
    judge = scene.join(gateway, lambda ask, body: dict(CLEAR), stages=["after_request"], needs=["body"])
    upstream.reset_to(answer_of(size))
    answer = chat_once(gateway.port, BODY)
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"] == "x" * size
    assert json.loads(judge.asks[0][1]) == answer.json()


@pytest.mark.parametrize("policy, status", [("closed", 500), ("open", 200)])
def test_what_is_too_long_to_be_held_follows_the_policy(scene, upstream, policy, status):
    gateway = scene(entry(on_failure=policy))
    judge = scene.join(gateway, lambda ask, body: dict(CLEAR), stages=["after_request"], needs=["body"])
    upstream.reset_to(answer_of(3_000_000))
    answer = chat_once(gateway.port, BODY)
    assert answer.status == status
    assert judge.asks == []
    if policy == "open":
        assert len(answer.json()["choices"][0]["message"]["content"]) == 3_000_000
    else:
        assert answer.error["code"] == "plugin_error"


def test_streams_and_failures_are_told(scene, upstream):
    gateway = scene(entry())
    judge = scene.join(gateway, lambda ask, body: dict(CLEAR), stages=["after_request", "on_error"])
    assert chat_once(gateway.port, BODY | {"stream": True}).status == 200
    gateway.wait_until(lambda: len(judge.told) == 1, "the end of the stream is told")
    assert judge.asks == []
    assert judge.told[0][0]["stage"] == "after_request" and judge.told[0][0]["facts"]["status"] == 200
    assert chat_once(gateway.port, BODY | {"model": "nobody-has-it"}).status == 404
    gateway.wait_until(lambda: len(judge.told) == 2, "the failure is told")
    told = judge.told[1][0]
    assert told["stage"] == "on_error" and told["facts"]["error"] == "MODEL_NOT_FOUND"
    assert told["facts"]["status"] == 404


def test_what_could_not_be_read_is_told_to_nobody(scene):
    gateway = scene(entry())
    judge = scene.join(gateway, lambda ask, body: dict(CLEAR), stages=["after_request", "on_error"], needs=["counts"])
    for broken in (b'{"model":"test-model","messages":[{"role":"user","content":"x', b'{"a":', b"[" * 100, b"{}"):
        assert chat_once(gateway.port, broken).status == 400
    assert request_once(gateway.port, "GET", "/v1/models").status == 200
    assert chat_once(gateway.port, BODY | {"model": "nobody-has-it"}).status == 404
    gateway.wait_until(lambda: judge.told, "the failure is told")
    assert [told["facts"]["error"] for told, _ in judge.told] == ["MODEL_NOT_FOUND"]
    assert judge.told[0][0]["facts"]["messages"] == 1


def test_votes_outlive_a_reload(scene, upstream):
    gateway = scene(entry("money"), entry("judge"))
    waits = threading.Event()
    goes_on = threading.Event()

    def judged(ask, body):
        waits.set()
        goes_on.wait(10)
        return dict(CLEAR)

    money = scene.join(gateway, lambda ask, body: {"verdict": "pass", "charged": True}, name="money", effects="charges")
    scene.join(gateway, judged)
    gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) >= 2, "both have joined")
    done = []
    asking = threading.Thread(target=lambda: done.append(chat_once(gateway.port, BODY).status))
    asking.start()
    assert waits.wait(10)
    config = json.loads(gateway.config_path.read_text())
    config["plugins"] = []
    gateway.config_path.write_text(json.dumps(config))
    gateway.child.send_signal(signal.SIGHUP)
    gateway.wait_until(lambda: gateway.log_lines(event="gateway.reload"), "the new configuration is in force")
    goes_on.set()
    asking.join(20)
    assert done == [200]
    gateway.wait_until(lambda: len(money.told) == 1, "it is told of the end, though nobody has it configured any more")
    assert chat_once(gateway.port, BODY).status == 200
    assert len(money.asks) == 1


def test_who_charged_is_told_of_a_later_refusal(scene):
    gateway = scene(entry("money"), entry("judge"))
    money = scene.join(gateway, lambda ask, body: {"verdict": "pass", "charged": True}, name="money", effects="charges")
    judge = scene.join(gateway, lambda ask, body: {"verdict": "deny"} if len(judge.asks) == 1 else dict(CLEAR))
    gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) >= 2, "both have joined")
    assert chat_once(gateway.port, BODY).status == 400
    gateway.wait_until(lambda: len(money.told) == 1, "it is told")
    told = money.told[0][0]
    assert told["charged"] and told["stage"] == "on_error" and told["id"] == money.asks[0][0]["id"]
    assert told["facts"]["refused"] and told["facts"]["refused_by"] == "judge"
    assert chat_once(gateway.port, BODY).status == 200
    gateway.wait_until(lambda: len(money.told) == 2, "it is told of the good end, too")
    assert money.told[1][0]["stage"] == "after_request" and money.told[1][0]["facts"]["usage"]["total"] > 0


def test_who_charged_is_told_however_much_it_is_asked(scene, upstream):
    gateway = scene(entry("money", timeout="20s"))
    goes_on = threading.Event()

    def slowly(request, exchange):
        goes_on.wait(20)
        answer_normally(request, exchange)

    upstream.reset_to(slowly)
    money = scene.join(gateway, lambda ask, body: {"verdict": "pass", "charged": True} if len(money.asks) == 1 else None,
                       name="money", effects="charges", requests=1)
    first = threading.Thread(target=chat_once, args=(gateway.port, BODY))
    first.start()
    upstream.wait_received(1)
    second = threading.Thread(target=chat_once, args=(gateway.port, BODY), daemon=True)
    second.start()
    gateway.wait_until(lambda: len(money.asks) == 2, "it has as many questions as it wants")
    goes_on.set()
    first.join(20)
    gateway.wait_until(lambda: len(money.told) == 1, "it is told all the same")
    assert money.told[0][0]["id"] == money.asks[0][0]["id"]
    echo = {key: money.asks[1][0][key] for key in ("id", "attempt", "epoch", "plugin", "stage")}
    money.say("vote", **echo, verdict="pass")
    second.join(20)


def test_each_charge_is_told_to_who_made_it(scene, upstream):
    gateway = scene(entry("money"), entry("judge"), cells=1)
    said = {"name": "money", "effects": "charges"}
    both = [scene.join(gateway, lambda ask, body: {"verdict": "pass", "charged": True}, **said) for _ in range(2)]
    judge = scene.join(gateway, lambda ask, body: {"verdict": "deny"} if len(judge.asks) % 2 else dict(CLEAR))
    gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) >= 3, "all have joined")
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: chat_once(gateway.port, BODY).status, range(24)))
    assert sorted(statuses) == [200] * 12 + [400] * 12
    gateway.wait_until(lambda: sum(len(one.told) for one in both) == 24, "all are told")
    for one in both:
        assert one.asks and sorted(told["id"] for told, _ in one.told) == sorted(ask["id"] for ask, _ in one.asks)


def test_a_charge_that_comes_too_late_is_given_back(scene):
    gateway = scene(entry("money", timeout="100ms", on_failure="open"))
    late = threading.Event()

    def slowly(ask, body):
        late.wait(20)
        return {"verdict": "pass", "charged": True}

    money = scene.join(gateway, slowly, name="money", effects="charges")
    assert chat_once(gateway.port, BODY).status == 200
    late.set()
    gateway.wait_until(lambda: len(money.told) == 1, "it is told")
    told = money.told[0][0]
    assert told["id"] == money.asks[0][0]["id"] and told["stage"] == "on_error"
    assert told["charged"] and told["facts"]["refused"]


def test_who_charges_is_asked_when_all_before_it_have_passed(scene):
    gateway = scene(entry("judge"), entry("money"))
    money = scene.join(gateway, lambda ask, body: {"verdict": "pass", "charged": True}, name="money", effects="charges")
    scene.join(gateway, lambda ask, body: {"verdict": "deny"})
    gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) >= 2, "both have joined")
    assert chat_once(gateway.port, BODY).status == 400
    assert money.asks == [] and money.told == []


def test_the_first_denial_in_the_order_of_the_configuration_wins(scene):
    gateway = scene(entry("slow"), entry("quick"))

    def slowly(ask, body):
        time.sleep(0.2)
        return {"verdict": "deny", "err_text": "slow"}

    scene.join(gateway, slowly, name="slow")
    scene.join(gateway, lambda ask, body: {"verdict": "deny", "err_text": "quick"}, name="quick")
    gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) >= 2, "both have joined")
    assert chat_once(gateway.port, BODY).error["message"].endswith("slow")


# ---- failures ----


@pytest.mark.parametrize("has_other", [False, True])
def test_who_joins_without_a_stage_that_is_configured_does_not_open_it(scene, has_other):
    gateway = scene(entry(stages=["before_request", "after_request"], timeout="200ms"), cells=1)
    judge = scene.join(gateway, lambda ask, body: dict(CLEAR), stages=["on_error"])
    gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.stage")) == 2, "both are missed")
    assert chat_once(gateway.port, BODY).status == 500
    if has_other:  # each is asked what it knows
        later = scene.join(gateway, lambda ask, body: dict(CLEAR), stages=["after_request"], needs=["body"])
        first = scene.join(gateway, lambda ask, body: dict(CLEAR), needs=["text"])
        gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) == 3, "all have joined")
        assert chat_once(gateway.port, BODY).status == 200
        assert [ask["stage"] for ask, _ in first.asks + later.asks] == ["before_request", "after_request"]
        assert msgpack.unpackb(first.asks[0][1])["texts"] and json.loads(later.asks[0][1])["choices"]
    judge.close()
    gateway.wait_until(lambda: gateway.log_lines(event="router.plugin.left"), "it is gone")
    assert chat_once(gateway.port, BODY).status == (200 if has_other else 500)


@pytest.mark.parametrize("policy, status", [("closed", 500), ("open", 200)])
@pytest.mark.parametrize("stream", [False, True])
def test_what_a_client_makes_a_plugin_fail_at_is_nobody_elses_failure(scene, policy, status, stream):
    """It has voted in time, so it is asked about the next one as well."""
    gateway = scene(entry(on_failure=policy), cells=1)
    stage = "during_stream" if stream else "before_request"
    votes = [{"verdict": "failed", "reason": "match limit"}] * 6 + [{"verdict": "deny"}]
    judge = scene.join(gateway, lambda ask, body: dict(votes[len({ask["id"] for ask, _ in judge.asks}) - 1]), stages=[stage])
    for _ in range(6):
        assert chat_once(gateway.port, BODY | {"stream": stream}).status == status
    assert chat_once(gateway.port, BODY | {"stream": stream}).status == (502 if stream else 400)


@pytest.mark.parametrize("more, status", [({}, 500), ({"on_failure": "open"}, 200), ({"type": "logging"}, 200),
                                          ({"required": False}, 200)])
def test_nobody_of_that_name_is_there(scene, more, status):
    gateway = scene(entry(stage="before_request", timeout="100ms", **more))
    answer = chat_once(gateway.port, BODY)
    assert answer.status == status
    if status == 500:
        assert answer.error["message"] == "plugin judge failed at before_request"


def test_one_that_is_just_starting_is_waited_for(scene):
    gateway = scene(entry(timeout="20s"))
    done = []
    asking = threading.Thread(target=lambda: done.append(chat_once(gateway.port, BODY).status))
    asking.start()
    time.sleep(0.2)
    assert done == []
    judge = scene.join(gateway, lambda ask, body: dict(CLEAR), needs=["body", "counts"])
    asking.join(20)
    assert done == [200] and len(judge.asks) == 1
    told, body = judge.asks[0]
    assert json.loads(body) == BODY and told["facts"]["messages"] == 1


@pytest.mark.parametrize("required", [False, True])
def test_one_that_drains_is_not_there(scene, required):
    """It passes, or its successor is waited for."""
    gateway = scene(entry(timeout="20s", required=required, stage="before_request"))
    judge = scene.join(gateway, lambda ask, body: judge.send("goodbye", reason="drain") or dict(CLEAR))
    assert chat_once(gateway.port, BODY).status == 200
    done = []
    asking = threading.Thread(target=lambda: done.append(chat_once(gateway.port, BODY).status))
    asking.start()
    successor = None
    if required:
        time.sleep(0.2)
        assert done == []
        successor = scene.join(gateway, lambda ask, body: dict(CLEAR))
    asking.join(20)
    assert done == [200] and len(judge.asks) == 1
    assert successor is None or len(successor.asks) == 1


def test_one_that_is_just_starting_and_votes_elsewhere_has_passed(scene):
    gateway = scene(entry(timeout="20s"))
    done = []
    asking = threading.Thread(target=lambda: done.append(chat_once(gateway.port, BODY).status))
    asking.start()
    time.sleep(0.2)
    judge = scene.join(gateway, lambda ask, body: dict(CLEAR), stages=["after_request"], needs=["body"])
    asking.join(20)
    assert done == [200] and [ask["stage"] for ask, _ in judge.asks] == ["after_request"]


@pytest.mark.parametrize("policy, status", [("closed", 500), ("open", 200)])
def test_silence_ends_with_the_time_limit(scene, policy, status):
    gateway = scene(entry(timeout="100ms", on_failure=policy))
    judge = scene.join(gateway, lambda ask, body: None)
    assert chat_once(gateway.port, BODY).status == status
    gateway.wait_until(lambda: len(judge.cancelled) == 1, "the question is withdrawn")
    assert judge.cancelled[0]["epoch"] == judge.asks[0][0]["epoch"]


def test_a_dead_one_is_not_asked_for_a_while(scene):
    gateway = scene(entry(timeout="100ms", on_failure="open"), cells=1)
    judge = scene.join(gateway, lambda ask, body: None)
    for _ in range(8):
        assert chat_once(gateway.port, BODY).status == 200
    assert len(judge.asks) == 5


@pytest.mark.parametrize("stage", ["before_request", "during_stream"])
def test_a_vote_that_cannot_be_read_is_not_waited_for(scene, stage):
    gateway = scene(entry(timeout="60s"))
    judges = []

    def vote(ask, body):
        judges[0].send("vote", id=ask["id"], epoch=ask["epoch"], attempt=ask["attempt"], plugin="judge", verdict=7)

    judges.append(scene.join(gateway, vote, stages=[stage]))
    began = time.monotonic()
    answer = chat_once(gateway.port, BODY | {"stream": stage == "during_stream"})
    assert answer.status == 500 or b"plugin_error" in answer.body
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("vote", [{"verdict": "failed", "reason": "match limit"}, {"verdict": "answer", "body": b"{}"}, {}])
def test_nonsense_is_a_failure(scene, vote):
    gateway = scene(entry())
    scene.join(gateway, lambda ask, body: dict(vote))
    assert chat_once(gateway.port, BODY).status == 500


def test_another_one_is_asked_when_one_dies(scene):
    gateway = scene(entry(timeout="5s"), cells=1)
    died = threading.Event()
    first = scene.join(gateway, lambda ask, body: died.set())
    done = []
    asking = threading.Thread(target=lambda: done.append(chat_once(gateway.port, BODY).status))
    asking.start()
    assert died.wait(10)
    second = scene.join(gateway, lambda ask, body: dict(CLEAR))
    gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) >= 2, "the other one has joined")
    first.close()
    asking.join(20)
    assert done == [200]
    assert len(second.asks) == 1 and second.asks[0][0]["id"] == first.asks[0][0]["id"]


def test_a_plugin_of_an_earlier_version_is_none(scene, monkeypatch):
    gateway = scene(entry(required=False))
    monkeypatch.setattr("harness.plugin.VERSION", [1, 2])
    judge = ScriptedPlugin(gateway.plugins, lambda ask, body: {"verdict": "deny"})
    gateway.wait_until(lambda: judge.goodbyes, "it is told to go")
    judge.close()
    assert judge.goodbyes[0]["reason"] == "version"
    assert chat_once(gateway.port, BODY).status == 200


def test_clients_of_the_bus_are_voted_on_in_the_same_way(scene):
    gateway = scene(entry())
    scene.join(gateway, lambda ask, body: {"verdict": "deny", "err_text": "not today"})
    base = gateway.plugins.rsplit(":", 1)
    client = Client(f"{base[0]}:{int(base[1]) - 1}")
    end, _ = client.until_end(client.request(json.dumps(BODY).encode()))[-1]
    client.close()
    # a client of 1.1 has no word for it yet
    assert (end["outcome"], end["status"], end["error"]) == ("error", 400, "INVALID_REQUEST")
    assert end["err_text"].endswith("not today")


def test_a_plugin_that_speaks_out_of_turn_is_told_to_go(scene):
    gateway = scene(entry(required=False))
    judge = scene.join(gateway, lambda ask, body: dict(CLEAR))
    judge.send("end", id=b"\x01" * 16, outcome="ok")
    gateway.wait_until(lambda: judge.goodbyes, "it is told")
    assert judge.goodbyes[0]["reason"] == "role"
    assert chat_once(gateway.port, BODY).status == 200


@pytest.mark.parametrize("more, status", [({}, 503), ({"required": False}, 200), ({"on_failure": "open"}, 200),
                                          ({"stages": ["before_request", "during_stream"]}, 503)])
def test_readiness_tells_who_is_missing(scene, more, status):
    def ready():
        answer = request_once(gateway.port, "GET", "/readyz")
        return answer.status, answer.json()["plugins"]

    gateway = scene(entry(**more), entry("max-token"), cells=1)
    required = more.get("required", True)
    missing = status, [{"name": "judge", "required": required, "there": False}]
    there = 200, [{"name": "judge", "required": required, "there": True}]
    assert ready() == missing
    if "stages" in more:
        scene.join(gateway, lambda ask, body: dict(CLEAR))  # one stage is still missing
        assert ready() == missing
    judge = scene.join(gateway, lambda ask, body: dict(CLEAR), stages=["before_request", "during_stream"])
    gateway.wait_until(lambda: ready() == there, "it is there")
    judge.say("goodbye", reason="drain")
    gateway.wait_until(lambda: ready() == missing, "what drains is not there")


# ---- what is told of votes ----


def test_the_event_names_each_vote(scene, tmp_path):
    gateway = scene(entry("watch"), entry("judge", timeout="100ms", on_failure="open"))
    scene.join(gateway, lambda ask, body: {"verdict": "pass", "notes": "seen"}, name="watch")
    scene.join(gateway, lambda ask, body: None)
    gateway.wait_until(lambda: len(gateway.log_lines(event="router.plugin.joined")) >= 2, "both have joined")
    base = gateway.plugins.rsplit(":", 1)
    events = f"{base[0]}:{int(base[1]) + 1}"
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, b"gateway.request.")
    socket.connect(events)
    found = None
    for _ in range(50):  # a subscription takes a moment
        assert chat_once(gateway.port, BODY).status == 200
        if socket.poll(200):
            found = msgpack.unpackb(socket.recv_multipart()[-1])
            break
    socket.close(0)
    context.term()
    first, second = found["plugins"]
    assert (first["name"], first["stage"], first["verdict"], first["reason"]) == (
        "watch", "before_request", "pass", "seen")
    assert (second["name"], second["verdict"]) == ("judge", "open")
    assert second["us"] >= 100_000 or second["reason"] == "its breaker is open"


def test_votes_are_counted(scene):
    gateway = scene(entry(type="ratelimit"))
    scene.join(gateway, lambda ask, body: {"verdict": "deny"})
    for _ in range(3):
        assert chat_once(gateway.port, BODY).status == 429
    page = request_once(gateway.port, "GET", "/metrics").body.decode()
    assert 'gateway_plugin_votes_total{plugin="judge",stage="before_request",verdict="deny"} 3' in page
    assert 'gateway_plugin_seconds_total{plugin="judge",stage="before_request"} ' in page
    assert 'gateway_rate_limit_rejections_total{key_type="plugin"} 3' in page
    assert 'gateway_requests_total{provider="none",model="test-model",status="rejected"} 3' in page


# ---- configuration ----


@pytest.mark.parametrize("plugin, problem", [
    ({"name": "max-tokn"}, "did you mean 'max-token'"),
    ({"name": "max-token", "stage": "before_reqest"}, "did you mean 'before_request'"),
    ({"name": "max-token", "config": {"max_tokns": 5}}, "did you mean 'max_tokens'"),
    ({"name": "max-token", "config": {"max_tokens": -5}}, "plugins[0].config.max_tokens"),
    ({"name": "judge", "type": "guard"}, "there is no type 'guard'"),
    ({"stage": "before_request"}, "the key 'name' is missing"),
])
def test_mistakes_are_found_where_they_stand(tmp_path, plugin, problem):
    path = write_config(tmp_path / "config.json", [target("http://127.0.0.1:9")], plugins=[{"enabled": True, **plugin}])
    code, said = run_to_end(["validate", str(path)], tmp_path, {"TEST_UPSTREAM_KEY": "k"})
    assert code == 1
    assert problem in said
    assert "config.json:" in said


def test_more_plugins_than_there_can_be_are_refused(tmp_path):
    path = write_config(tmp_path / "config.json", [target("http://127.0.0.1:9")],
                        plugins=[entry(f"judge{i}") for i in range(33)])
    code, said = run_to_end(["validate", str(path)], tmp_path, {"TEST_UPSTREAM_KEY": "k"})
    assert code == 1 and "33 plugins are more than the 32" in said


def test_one_plugin_at_two_stages_is_one(tmp_path):
    first = entry("max-token", stage="before_request", config={"max_tokens": 5})
    other = entry("max-token", stage="after_request", config={"max_tokens": 6})
    path = write_config(tmp_path / "config.json", [target("http://127.0.0.1:9")], plugins=[first, other])
    code, said = run_to_end(["validate", str(path)], tmp_path, {"TEST_UPSTREAM_KEY": "k"})
    assert code == 1
    assert "is configured otherwise" in said


# ---- max-token ----


def test_clamp_lowers_what_was_asked_for(start_gateway, upstream):
    plugin = entry("max-token", stage="before_request", config={"max_tokens": 10, "mode": "clamp"})
    gateway = start_gateway([target(upstream.url)], config={"plugins": [plugin]})
    assert chat_once(gateway.port, BODY | {"max_tokens": 50, "max_completion_tokens": 7}).status == 200
    got = upstream.received()[-1].json()
    assert (got["max_tokens"], got["max_completion_tokens"]) == (10, 7)
