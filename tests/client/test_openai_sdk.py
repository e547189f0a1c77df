"""The official OpenAI Python SDK against the gateway, with its own retries off."""

import base64
import struct
import threading

import openai
import pytest

from harness.gateway import target
from harness.upstream import DONE, chunk_event, completion, head, usage_event

MESSAGES = [{"role": "user", "content": "hello"}]
MASTER = "master-key-for-the-sdk"


@pytest.fixture(scope="module")
def module_gateway(tmp_path_factory, module_upstream):
    from harness.gateway import Gateway

    gateway = Gateway(tmp_path_factory.mktemp("gateway"), [target(module_upstream.url)],
                      environment={"MASTER_KEY": MASTER})
    try:
        yield gateway.wait_ready()
        gateway.stop()
    finally:
        gateway.kill()


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=MASTER, max_retries=0, timeout=60) as sdk:
        yield sdk


def test_chat(client):
    answer = client.chat.completions.create(model="test-model", messages=MESSAGES)
    assert answer.choices[0].message.content == "hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 5


def test_parameters_reach_the_provider(client, upstream):
    client.chat.completions.create(
        model="test-model", messages=MESSAGES, temperature=0.5, max_completion_tokens=10, seed=7, stop=["x"],
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
        extra_body={"provider_extra": {"a": 1}},
    )
    sent = upstream.received()[0].json()
    assert sent["temperature"] == 0.5 and sent["seed"] == 7 and sent["stop"] == ["x"]
    assert sent["max_completion_tokens"] == 10
    assert sent["tools"][0]["function"]["name"] == "f"
    assert sent["provider_extra"] == {"a": 1}


def test_tool_calls_come_back(client, upstream):
    calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
    body = completion()
    body["choices"][0] = {"index": 0, "finish_reason": "tool_calls",
                          "message": {"role": "assistant", "content": None, "tool_calls": calls}}
    upstream.reset_to(lambda request, exchange: exchange.json(body))
    message = client.chat.completions.create(model="test-model", messages=MESSAGES).choices[0].message
    assert message.content is None
    assert message.tool_calls[0].function.arguments == '{"a":1}'


def test_embeddings(client, upstream):
    """The SDK asks for base64 of its own accord and decodes it."""
    packed = base64.b64encode(struct.pack("<3f", 0.25, -1.5, 2.0)).decode()
    upstream.reset_to(lambda request, exchange: exchange.json({
        "object": "list", "model": "test-model", "usage": {"prompt_tokens": 2, "total_tokens": 2},
        "data": [{"object": "embedding", "index": 0, "embedding": packed}]}))
    answer = client.embeddings.create(model="test-model", input="hello")
    assert answer.data[0].embedding == [0.25, -1.5, 2.0] and answer.usage.total_tokens == 2
    sent = upstream.received()[0]
    assert sent.path == "/v1/embeddings" and sent.json()["encoding_format"] == "base64"


def test_stream(client):
    stream = client.chat.completions.create(model="test-model", messages=MESSAGES, stream=True)
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hello"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_with_usage(client):
    stream = client.chat.completions.create(model="test-model", messages=MESSAGES, stream=True,
                                            stream_options={"include_usage": True})
    chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 5


def test_stream_helper(client):
    with client.chat.completions.stream(model="test-model", messages=MESSAGES) as stream:
        stream.until_done()
        assert stream.get_final_completion().choices[0].message.content == "hello"


def test_cancel(client, upstream):
    """Leaving a stream reaches the provider."""
    closed = threading.Event()

    def endless(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("a"))
        if exchange.wait_for_close(20):
            closed.set()

    upstream.reset_to(endless)
    stream = client.chat.completions.create(model="test-model", messages=MESSAGES, stream=True)
    assert next(iter(stream)).choices[0].delta.content == "a"
    stream.close()
    assert closed.wait(20)


ERRORS = {
    400: openai.BadRequestError,
    401: openai.InternalServerError,  # the gateway's key, not the caller's: 502
    404: openai.NotFoundError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
}


@pytest.mark.parametrize("status, error_class", ERRORS.items())
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_error_types(client, upstream, status, error_class, stream):
    body = {"error": {"message": "said the provider", "type": "t", "param": None, "code": None}}
    upstream.reset_to(lambda request, exchange: exchange.json(body, status))
    with pytest.raises(error_class) as caught:
        client.chat.completions.create(model="test-model", messages=MESSAGES, stream=stream)
    assert caught.value.type and caught.value.code
    assert caught.value.response.headers["x-request-id"]
    assert len(upstream.received()) == 1


def test_wrong_key(gateway, upstream):
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key="wrong", max_retries=0) as sdk:
        with pytest.raises(openai.AuthenticationError) as caught:
            sdk.chat.completions.create(model="test-model", messages=MESSAGES)
    assert caught.value.code == "invalid_api_key"
    assert upstream.received() == []


def test_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)
    assert caught.value.code == "model_not_found"


def test_bad_parameter(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="test-model", messages=MESSAGES, temperature=3)
    assert caught.value.param == "temperature"


def test_stream_error_event(client, upstream):
    """A stream that breaks raises in the SDK: it is not taken for a complete answer."""
    def cut(request, exchange):
        exchange.send(head(200, [("content-type", "text/event-stream")]) + chunk_event("a"))
        exchange.cut()

    upstream.reset_to(cut)
    stream = client.chat.completions.create(model="test-model", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError):
        list(stream)


def test_models(client):
    assert "test-model" in [model.id for model in client.models.list()]
    assert client.models.retrieve("test-model").id == "test-model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_raw_response_headers(client):
    raw = client.chat.completions.with_raw_response.create(model="test-model", messages=MESSAGES)
    assert raw.headers["x-dynabus-target"] == "upstream"
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.parse().choices[0].message.content == "hello"


def test_async_client(gateway, upstream):
    import asyncio

    upstream.reset_to(lambda request, exchange: exchange.stream([chunk_event("a"), usage_event(), DONE])
                      if request.json().get("stream") else exchange.json(completion()))

    async def run():
        async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=MASTER, max_retries=0) as sdk:
            answers = await asyncio.gather(*[
                sdk.chat.completions.create(model="test-model", messages=MESSAGES) for _ in range(20)])
            assert all(answer.choices[0].message.content == "hello" for answer in answers)
            text = ""
            async for chunk in await sdk.chat.completions.create(model="test-model", messages=MESSAGES, stream=True):
                text += chunk.choices[0].delta.content or ""
            assert text == "a"

    asyncio.run(run())
