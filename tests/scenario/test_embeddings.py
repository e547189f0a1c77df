"""POST /v1/embeddings: bytes go through untouched both ways, however long; only targets that have embeddings are asked;
what was used is in the log and in the metrics."""

import json
import os
import random

import pytest

from harness.bus import Client, free_base
from harness.gateway import target
from harness.http import Connection, request_once

EMBEDDING = {"object": "list", "model": "test-model", "usage": {"prompt_tokens": 8, "total_tokens": 8},
             "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}]}


def embed(port, body, headers=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request_once(port, "POST", "/v1/embeddings", data, headers)


def answers_with(data):
    return lambda request, exchange: exchange.json(data)


def test_bytes_are_untouched(gateway, upstream):
    sent = b'{ "input" : ["a\\u00e9", "b"],"model":"test-model", "dimensions": 2e0,"x":[12345678901234567890] }\n'
    answer = b'{ "data":[{"embedding":"AACAPgAAwL8=","index":0}] ,"usage":{"prompt_tokens":8,"total_tokens":8}}\n'
    upstream.reset_to(answers_with(answer))
    got = embed(gateway.port, sent)
    [request] = upstream.received()
    assert (request.path, request.body) == ("/v1/embeddings", sent)
    assert request.header("authorization").startswith("Bearer ")
    assert (got.status, got.body) == (200, answer)
    assert got.header("x-dynabus-target") == "upstream" and got.header("content-type") == "application/json"


@pytest.mark.parametrize("form", ["base64", "float"])
def test_large_answers_pass_whole(gateway, upstream, form):
    """Three megabytes: longer than what is held for a repeat."""
    draw = random.Random(7)
    numbers = [draw.uniform(-1, 1) for _ in range(1536)]
    vector = "A" * 8192 if form == "base64" else numbers
    body = json.dumps({**EMBEDDING, "data": [{"object": "embedding", "index": i, "embedding": vector}
                                             for i in range(400 if form == "base64" else 100)]}).encode()
    assert len(body) > 2 * 1024 * 1024
    upstream.reset_to(answers_with(body))
    with Connection(gateway.port) as connection:
        for _ in range(2):
            answer = connection.request("POST", "/v1/embeddings", json.dumps(
                {"model": "test-model", "input": ["x"] * 400, "encoding_format": form}).encode())
            assert answer.status == 200 and answer.body == body
    done = [line for line in gateway.log().splitlines() if '"surface":"embeddings"' in line][-1]
    assert '"tokens_in":8' in done and '"tokens_out":0' in done and '"stream":false' in done


@pytest.mark.parametrize("body,param", [
    ({"input": "x"}, "model"), ({"model": "test-model"}, "input"), ({"model": "test-model", "input": 7}, "input"),
    ({"model": "test-model", "input": []}, "input"),
])
def test_what_is_no_request(gateway, upstream, body, param):
    answer = embed(gateway.port, body)
    assert answer.status == 400 and answer.json()["error"]["param"] == param
    assert upstream.received() == []


def test_methods_and_errors(gateway, upstream):
    assert request_once(gateway.port, "GET", "/v1/embeddings").status == 405
    upstream.reset_to(lambda request, exchange: exchange.json(
        {"error": {"message": "too many inputs", "type": "invalid_request_error"}}, status=400))
    answer = embed(gateway.port, {"model": "test-model", "input": "x"})
    assert answer.status == 400 and "too many inputs" in answer.json()["error"]["message"]
    upstream.reset_to(answers_with(b'{"object":"list"}'))
    assert embed(gateway.port, {"model": "test-model", "input": "x"}).status == 502


def test_only_targets_that_have_embeddings_are_asked(start_gateway, upstream):
    first = {**target(upstream.url, name="first"), "provider": "groq", "base_url": upstream.url + "/groq"}
    second = {**target(upstream.url, name="second"), "provider": "mistral", "base_url": upstream.url + "/mistral"}
    gateway = start_gateway([first, second, target(upstream.url, name="chat-only", models=["chat"], provider="groq")])
    upstream.reset_to(answers_with(EMBEDDING))
    answer = embed(gateway.port, {"model": "test-model", "input": "x", "dimensions": 2})
    assert answer.status == 200 and answer.header("x-dynabus-target") == "second"
    [request] = upstream.received()
    assert request.path == "/mistral/embeddings"
    assert request.json() == {"model": "test-model", "input": "x", "output_dimension": 2}
    assert embed(gateway.port, {"model": "chat", "input": "x"}).status == 404


def test_over_the_bus(start_gateway, upstream):
    base = f"tcp://127.0.0.1:{free_base()}"
    start_gateway([target(upstream.url)], config={"bus": {"listen": base}})
    body = os.urandom(30_000).hex()
    answer = json.dumps({**EMBEDDING, "data": [{"embedding": body, "index": 0}]}).encode()
    upstream.reset_to(answers_with(answer))
    client = Client(base)
    try:
        request = client.request(json.dumps({"model": "test-model", "input": "x"}).encode(), surface="embeddings",
                                 dialect="openai_embeddings")
        found = client.until_end(request)
        assert found[-1][0]["outcome"] == "ok" and found[-1][0]["usage"]["in"] == 8
        assert b"".join(part for _, part in found) == answer
        wrong = client.request(json.dumps({"model": "test-model", "input": "x"}).encode(), surface="embeddings",
                               dialect="openai_chat")
        assert client.until_end(wrong)[-1][0]["outcome"] == "error"
    finally:
        client.close()


def test_the_mock_embeds(mock):
    """The same text has the same vector, in both forms."""
    texts = {"model": "mock", "input": ["one", "two", "one"], "dimensions": 4}
    floats = embed(mock.port, texts).json()
    vectors = [item["embedding"] for item in floats["data"]]
    assert vectors[0] == vectors[2] != vectors[1] and len(vectors[0]) == 4
    import base64
    import struct
    packed = embed(mock.port, {**texts, "encoding_format": "base64"}).json()["data"][1]["embedding"]
    assert list(struct.unpack("<4f", base64.b64decode(packed))) == pytest.approx(vectors[1])
    assert embed(mock.port, {"model": "mock"}).status == 400
