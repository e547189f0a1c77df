"""`dynabus ask` against a router that the test plays byte by byte: every way in which 03-CLIENT lets an answer come."""

import json
import subprocess

import pytest

from harness.bus import ScriptedRouter
from harness.process import BINARY, SANITIZER_WORDS, clean_environment, free_port

SECONDS = 60  # against hanging


def answer_json(content):
    message = {"role": "assistant", "content": content}
    return json.dumps({"object": "chat.completion", "choices": [{"index": 0, "message": message}]}).encode()


def event(content):
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": content}}]}).encode() + b"\n\n"


@pytest.fixture
def play():
    """play(answer) starts a router that answers so."""
    routers = []

    def start(answer):
        routers.append(ScriptedRouter(answer))
        return routers[-1]

    yield start
    for router in routers:
        router.close()


def ask(endpoint, *arguments, environment=None):
    command = [BINARY, "ask", "--bus", endpoint, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
                          env=clean_environment(environment or {}))
    for word in SANITIZER_WORDS:
        assert word not in done.stderr, done.stderr
    return done


def test_plain_answer_in_one_end(play):
    def answer(router, request, body):
        router.send("end", answer_json("Grüße\nto you"), id=request["id"], outcome="ok", status=200,
                    type=b"application/json")

    router = play(answer)
    done = ask(router.endpoint, "mock", 'say "hi"\n', environment={"MASTER_KEY": "master"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "Grüße\nto you\n", "")
    request = router.received[0]
    assert request["surface"] == "chat" and request["dialect"] == "openai_chat" and request["credit"] == 65536
    assert request["cred"] == b"master" and len(request["id"]) == 16
    assert not {"attempt", "epoch", "target", "tries"} & set(request)


def test_body_that_is_sent(play):
    seen = []

    def answer(router, request, body):
        seen.append(json.loads(body))
        router.send("end", answer_json("x"), id=request["id"], outcome="ok", status=200)

    router = play(answer)
    assert ask(router.endpoint, "a/model", "quote \" and é").returncode == 0
    assert seen == [{"model": "a/model", "messages": [{"role": "user", "content": "quote \" and é"}]}]
    assert ask(router.endpoint, "--api-key", "k", "--stream", "m", "t").returncode == 0
    assert seen[1]["stream"] is True and router.received[1]["stream"] is True and router.received[1]["cred"] == b"k"


def test_long_plain_answer_needs_credit(play):
    text = "0123456789abcdef" * 16384  # 256 KiB: four windows

    def answer(router, request, body):
        whole = answer_json(text)
        credit, seq = request["credit"], 0
        first = {"status": 200, "type": b"application/json"}
        for at in range(0, len(whole), 32768):
            piece = whole[at : at + 32768]
            while credit < len(piece):
                credit += router.wait_for("credit")["credit"]
            credit -= len(piece)
            router.send("chunk", piece, id=request["id"], seq=seq, **(first if seq == 0 else {}))
            seq += 1
        router.send("end", id=request["id"], outcome="ok", bytes=len(whole))

    done = ask(play(answer).endpoint, "mock", "x")
    assert done.returncode == 0 and done.stdout == text + "\n", done.stderr


def test_plain_answer_that_starts_over(play):
    def answer(router, request, body):
        right = answer_json("right")
        router.send("chunk", answer_json("wrong"), id=request["id"], seq=0, status=200)
        router.send("chunk", b"and more of it", id=request["id"], seq=1)
        router.send("chunk", right[:10], id=request["id"], seq=0, status=200)
        router.send("chunk", right[10:], id=request["id"], seq=1)
        router.send("end", id=request["id"], outcome="ok")

    done = ask(play(answer).endpoint, "mock", "x")
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


def test_plain_answer_that_starts_over_in_end(play):
    def answer(router, request, body):
        router.send("chunk", answer_json("wrong"), id=request["id"], seq=0, status=200)
        router.send("end", answer_json("right"), id=request["id"], outcome="ok", status=200)

    assert ask(play(answer).endpoint, "mock", "x").stdout == "right\n"


def test_stream_in_any_pieces(play):
    def answer(router, request, body):
        assert request["stream"] is True
        events = event("Hel") + b": comment\n\n" + event("lo ü") + b"data: [DONE]\n\n"
        router.send("dispatched", id=request["id"], stream=True)
        for seq, at in enumerate(range(0, len(events), 7)):
            first = {"stream": True, "status": 200, "type": b"text/event-stream"} if seq == 0 else {"seq": seq}
            router.send("chunk", events[at : at + 7], id=request["id"], **first)
        router.send("end", id=request["id"], outcome="ok")

    router = play(answer)
    done = ask(router.endpoint, "--stream", "mock", "x")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello ü\n", "")
    raw = ask(router.endpoint, "--stream", "--json", "mock", "x")
    assert raw.stdout == (event("Hel") + b": comment\n\n" + event("lo ü") + b"data: [DONE]\n\n").decode()


def test_what_is_not_ours_is_ignored(play):
    def answer(router, request, body):
        router.send("heartbeat")
        router.send("ready", role="router")
        router.send("goodbye", reason="drain")
        router.send("end", answer_json("of another"), id=bytes(15) + b"\1", outcome="ok", status=200)
        router.send("end", answer_json("ours"), id=request["id"], outcome="ok", status=200, future=[1, {"a": 2}])

    assert ask(play(answer).endpoint, "mock", "x").stdout == "ours\n"


@pytest.mark.parametrize("members, said", [
    ({"error": "SATURATED", "status": 429, "retry_s": 3}, "the gateway is at its limit of requests in flight "
     "(gateway_saturated); try again in 3 s"),
    ({"error": "MODEL_NOT_FOUND", "err_text": "no such model: x"}, "no such model: x (model_not_found)"),
    ({"error": "WORKER_LOST"}, "(worker_lost)"),
    ({}, "(internal_error)"),
])
def test_errors_are_sentences(play, members, said):
    def answer(router, request, body):
        router.send("end", id=request["id"], outcome="error", **members)

    done = ask(play(answer).endpoint, "mock", "x")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("dynabus ask: ") and said in done.stderr


def test_stream_that_breaks_off(play):
    def answer(router, request, body):
        router.send("chunk", event("Hel"), id=request["id"], stream=True, status=200)
        router.send("end", id=request["id"], outcome="error", error="UPSTREAM_CUT")

    done = ask(play(answer).endpoint, "--stream", "mock", "x")
    assert (done.returncode, done.stdout) == (1, "Hel\n") and "upstream_cut" in done.stderr


def test_missing_piece(play):
    def answer(router, request, body):
        router.send("chunk", event("Hel"), id=request["id"], stream=True, status=200)
        router.send("chunk", event("lo"), id=request["id"], seq=2)

    done = ask(play(answer).endpoint, "--stream", "mock", "x")
    assert done.returncode == 1 and "missing" in done.stderr


def test_stream_does_not_start_over(play):
    def answer(router, request, body):
        for _ in range(2):
            router.send("chunk", event("Hel"), id=request["id"], stream=True, status=200)

    assert ask(play(answer).endpoint, "--stream", "mock", "x").returncode == 1


def test_router_that_says_goodbye(play):
    done = ask(play(lambda router, request, body: router.send("goodbye", reason="limit")).endpoint, "mock", "x")
    assert done.returncode == 1 and "limit" in done.stderr


def test_router_that_dies(play):
    done = ask(play(lambda router, request, body: router.stopping.set()).endpoint, "mock", "x")
    assert done.returncode == 1 and "lost" in done.stderr


def test_nobody_is_there():
    done = ask(f"tcp://127.0.0.1:{free_port()}", "mock", "x")
    assert done.returncode == 1 and "nobody answers at tcp://127.0.0.1:" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["mock"], ["mock", "x", "y"], ["--key", "f", "mock", "x"], ["--what", "m", "x"]])
def test_wrong_usage(arguments):
    done = ask("tcp://127.0.0.1:1", *arguments)
    assert done.returncode == 2 and "usage: dynabus ask" in done.stderr


def test_plain_text_stays_on_this_host():
    done = ask("tcp://192.0.2.1:7400", "mock", "x")
    assert done.returncode == 1 and "key" in done.stderr
