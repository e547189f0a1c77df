"""The example clients keep to proto/03-CLIENT.md, checked with the vectors: what they send decodes to the members that
the vectors show, and they understand the vectors' own bytes. None of them shares code with the gateway. Then they ask
a real gateway. Those whose tools are not part of the build are run by `./dev test full`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from harness.bus import ScriptedRouter, free_base, header
from harness.process import HttpProcess, clean_environment, free_port

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "clients"
VECTOR_ID = bytes.fromhex("0123456789abcdeffedcba9876543210")
SECONDS = 60  # against hanging
FULL = os.environ.get("DYNABUS_TEST_EXAMPLES") == "full"


def vectors(name):
    rows = json.loads((ROOT / "proto" / "vectors" / "1.1" / name).read_text())
    return {row["name"]: row for row in rows}


KINDS, FORMS = vectors("kinds.json"), vectors("forms.json")


# ---- the clients, as their README says to build them ----


def built_python(directory):
    return [sys.executable, EXAMPLES / "python" / "chat.py"]


def built_c(directory):
    shutil.copytree(EXAMPLES / "c", directory, dirs_exist_ok=True)
    subprocess.run(["make", "-C", directory], check=True, capture_output=True)
    assert '#include "' not in (directory / "chat.c").read_text(), "an example includes nothing of ours"
    return [directory / "chat"]


def built_node(directory):
    shutil.copytree(EXAMPLES / "node", directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(["npm", "ci", "--no-fund", "--no-audit"], cwd=directory, check=True, capture_output=True)
    return ["node", directory / "chat.mjs"]


BUILDS = {"python": built_python, "c": built_c}
if FULL:
    BUILDS = {"node": built_node}


@pytest.fixture(scope="module", params=list(BUILDS))
def client(request, tmp_path_factory):
    """run(endpoint, mode, ..): the example client, to its end."""
    command = BUILDS[request.param](tmp_path_factory.mktemp(request.param))

    def run(endpoint, mode, model="mock", text="Hello", **environment):
        variables = clean_environment({"DYNABUS_BUS": endpoint, **environment})
        return subprocess.run([*map(str, command), mode, model, text], env=variables, capture_output=True, text=True,
                              timeout=SECONDS)

    return run


@pytest.fixture
def play():
    routers = []

    def start(answer):
        routers.append(ScriptedRouter(answer))
        return routers[-1]

    yield start
    for router in routers:
        router.close()


def replay(router, request, *vectors_or_frames):
    """Sends vectors as they are, but for the id, which is the client's."""
    for item in vectors_or_frames:
        if isinstance(item, dict):
            item = [bytes.fromhex(item["header"]), *([bytes.fromhex(item["body"])] if "body" in item else [])]
        frames = [item[0].replace(VECTOR_ID, request["id"]), *item[1:]]
        router.socket.send_multipart([router.peer, *frames])


# ---- what they send ----


@pytest.mark.parametrize("mode, vector", [("chat", "client_request"), ("stream", "client_stream")])
def test_request(client, play, mode, vector):
    """Its members are those of the vector, as far as a client must or may say them; the body is a chat request."""
    bodies = []

    def answer(router, request, body):
        bodies.append(json.loads(body))
        replay(router, request, KINDS["end_plain"])

    router = play(answer)
    client(router.endpoint, mode, "a \"model\"", "Grüße\n\\", DYNABUS_API_KEY="master")
    sent = router.received[0]
    expected = KINDS[vector]["members"]
    assert sent.pop("v") == [1, 1]
    assert len(sent["id"]) == 16 and any(sent["id"])
    for key in ("kind", "surface", "dialect", "credit"):
        assert sent[key] == expected[key], key
    assert sent["cred"] == b"master"
    assert sent.get("stream", False) == expected.get("stream", False)
    allowed = {"kind", "id", "surface", "dialect", "stream", "model", "cred", "credit", "deadline"}
    assert set(sent) <= allowed
    (body,) = bodies
    assert body["model"] == "a \"model\"" and body["messages"] == [{"role": "user", "content": "Grüße\n\\"}]
    assert body.get("stream", False) is (mode == "stream")


def test_two_requests_have_two_ids(client, play):
    router = play(lambda router, request, body: replay(router, request, KINDS["end_plain"]))
    client(router.endpoint, "chat")
    client(router.endpoint, "chat")
    first, second = (head["id"] for head in router.received)
    assert first != second


# ---- what they understand ----


def test_whole_answer_in_one_end(client, play):
    done = client(play(lambda *asked: replay(asked[0], asked[1], KINDS["end_plain"])).endpoint, "chat")
    assert done.returncode == 0 and "Hello" in done.stdout, done


def plain_pieces(text, size=20):
    first = bytes.fromhex(KINDS["chunk_over"]["header"])  # seq 0, with status and type
    later = KINDS["chunk_later"]["members"]
    for seq, at in enumerate(range(0, len(text), size)):
        head = first if seq == 0 else header("chunk", id=VECTOR_ID, attempt=later["attempt"], seq=seq)
        yield [head, text[at : at + size]]


def test_plain_answer_that_starts_over(client, play):
    whole = bytes.fromhex(KINDS["end_plain"]["body"])
    wrong = whole.replace(b"Hello", b"Wrong")

    def answer(router, request, body):
        replay(router, request, *list(plain_pieces(wrong))[:3], *plain_pieces(whole), KINDS["end_ok"])

    done = client(play(answer).endpoint, "chat")
    assert done.returncode == 0 and "Hello" in done.stdout and "Wrong" not in done.stdout, done


def test_plain_answer_that_starts_over_in_end(client, play):
    wrong = bytes.fromhex(KINDS["end_plain"]["body"]).replace(b"Hello", b"Wrong")

    def answer(router, request, body):
        replay(router, request, *list(plain_pieces(wrong))[:3], KINDS["end_to_owner"])

    done = client(play(answer).endpoint, "chat")
    assert done.returncode == 0 and "Hello" in done.stdout and "Wrong" not in done.stdout, done


def later_chunk(seq, body):
    return [header("chunk", id=VECTOR_ID, seq=seq), body]


def test_stream(client, play):
    """The vectors' first CHUNK, events cut anywhere, and what a client has to ignore in between."""
    rest = b'data: {"choices":[{"index":0,"delta":{"content":"l\xc3\xb6"}}]}\n\ndata: [DONE]\n\n'

    def answer(router, request, body):
        pieces = [later_chunk(seq + 1, rest[at : at + 5]) for seq, at in enumerate(range(0, len(rest), 5))]
        replay(router, request, KINDS["dispatched_to_owner"], KINDS["chunk_to_owner"], KINDS["heartbeat"],
               KINDS["goodbye_drain"], KINDS["ready_router"], [header("greeting", id=VECTOR_ID)], *pieces, KINDS["end_ok"])

    done = client(play(answer).endpoint, "stream")
    assert done.returncode == 0, done
    assert "Hel" in done.stdout and "lö" in done.stdout


def test_other_forms(client, play):
    """Longer forms than needed, members in any order, text for bytes: the same to a client."""
    whole = bytes.fromhex(KINDS["end_plain"]["body"])
    head = (b"\xde\x00\x06" + b"\xd9\x07outcome\xda\x00\x02ok" + b"\xa6status\xcf\x00\x00\x00\x00\x00\x00\x00\xc8"
            + b"\xa4type\xd9\x10application/json" + b"\xa2id\xc6\x00\x00\x00\x10" + VECTOR_ID
            + b"\xa4kind\xa3end" + b"\xa1v\xdc\x00\x02\x01\xcd\x00\x01")
    assert msgpack.unpackb(head)["status"] == 200
    done = client(play(lambda *asked: replay(asked[0], asked[1], [head, whole])).endpoint, "chat")
    assert done.returncode == 0 and "Hello" in done.stdout, done


def test_answers_of_other_requests_are_ignored(client, play):
    wrong = bytes.fromhex(KINDS["end_plain"]["body"]).replace(b"Hello", b"Wrong")

    def answer(router, request, body):
        router.send("end", wrong, id=bytes(15) + b"\7", outcome="ok", status=200)
        replay(router, request, KINDS["end_plain"])

    assert "Wrong" not in client(play(answer).endpoint, "chat").stdout


@pytest.mark.parametrize("vector, said", [("end_error", "slow down"), ("end_worker_lost", "WORKER_LOST"),
                                          ("end_router_unreachable", "ROUTER_UNREACHABLE"), ("end_cancelled", "cancelled")])
def test_ends_that_are_no_answer(client, play, vector, said):
    done = client(play(lambda *asked: replay(asked[0], asked[1], KINDS[vector])).endpoint, "chat")
    assert done.returncode == 1 and said in done.stderr, done


@pytest.mark.parametrize("vector", ["goodbye_close", "goodbye_protocol"])
def test_goodbye(client, play, vector):
    done = client(play(lambda *asked: replay(asked[0], asked[1], KINDS[vector])).endpoint, "chat")
    assert done.returncode == 1 and KINDS[vector]["members"]["reason"] in done.stderr, done


def test_missing_piece(client, play):
    def answer(router, request, body):
        replay(router, request, KINDS["chunk_first"], later_chunk(2, b"data: [DONE]\n\n"), KINDS["end_ok"])

    assert client(play(answer).endpoint, "stream").returncode == 1


# ---- credit and cancel ----


def test_credit_is_granted(client, play):
    """Six windows of a stream to a client that began with one: it grants what it has used, and never too much."""
    line = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 8000 + b'"}}]}\n\n'

    def answer(router, request, body):
        credit = request["credit"]
        assert credit == 65536
        replay(router, request, [bytes.fromhex(KINDS["chunk_first"]["header"]), line])
        credit -= len(line)
        for seq in range(1, 50):
            while credit < len(line):
                credit += router.wait_for("credit")["credit"]
            assert credit <= 2**20
            credit -= len(line)
            replay(router, request, later_chunk(seq, line))
        replay(router, request, KINDS["end_ok"])

    done = client(play(answer).endpoint, "stream")
    assert done.returncode == 0 and done.stdout.count("x") >= 50 * 8000, done.stderr


def test_cancel(client, play):
    def answer(router, request, body):
        replay(router, request, KINDS["chunk_first"])
        cancel = router.wait_for("cancel")
        assert cancel["id"] == request["id"] and set(cancel) <= {"v", "kind", "id", "reason"}
        replay(router, request, later_chunk(1, b"data: crossed it\n\n"), KINDS["end_cancelled"])

    done = client(play(answer).endpoint, "cancel")
    assert done.returncode == 1 and "cancelled" in done.stderr and "Hel" in done.stdout, done


# ---- a real gateway ----


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """`dynabus serve --dev`, and where its bus is."""
    port, bus = free_port(), f"tcp://127.0.0.1:{free_base()}"
    log = tmp_path_factory.mktemp("gateway") / "log"
    process = HttpProcess(["serve", "--dev", "--listen", f"127.0.0.1:{port}", "--bus", bus], port, log, "/readyz")
    process.bus = bus
    try:
        yield process.wait_ready()
        process.stop()
    finally:
        process.kill()


@pytest.mark.parametrize("mode", ["chat", "stream"])
def test_asks_a_gateway(client, gateway, mode):
    done = client(gateway.bus, mode, "mock", "Hello")
    assert done.returncode == 0 and done.stderr == "", done
    for word in ("This", "answer", "mock", "Dynabus"):  # one that prints events has them apart
        assert word in done.stdout, done


def test_reads_errors_of_a_gateway(client, gateway):
    done = client(gateway.bus, "chat", "nobody-has-this", "Hello")
    assert done.returncode == 1 and "nobody-has-this" in done.stderr, done
