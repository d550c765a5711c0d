"""The OpenAI-compatible backend against a server that misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from adapters.models.openai_api import OpenAICompatible
from adapters.models.openai_errors import Backoff
from adapters.models.scripted import (
    DEFAULT_CAPABILITIES,
    Cut,
    Fail,
    FailMidStream,
    Say,
    Stall,
    Step,
)
from adapters.models.scripted_server import Drop, HttpPolicy, HttpReply, Raw, ScriptedServer
from agents.errors import BackendError, PromptTooLong, RouteRetired
from agents.ports import ModelRequest, PromptMessage, complete

SECRET = "sk-very-secret"
PRIVATE = "my private question"
ASK = ModelRequest(
    (PromptMessage("user", PRIVATE),),
    max_tokens=64,
    first_token_timeout_s=5.0,
    gap_timeout_s=0.2,
)
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
STRUCTURED = ModelRequest((PromptMessage("user", PRIVATE),), max_tokens=64, schema=SCHEMA)


@asynccontextmanager
async def talking_to(
    replies: Sequence[HttpReply] | HttpPolicy, *, model: str = "scripted", **server_options: Any
) -> AsyncIterator[tuple[OpenAICompatible, ScriptedServer]]:
    server = ScriptedServer(replies, **server_options)
    async with server as url:
        backend = OpenAICompatible(
            "near",
            base_url=url,
            model=model,
            api_key=SECRET,
            capabilities=DEFAULT_CAPABILITIES,
            backoff=Backoff(first_pause_s=0.002),
        )
        try:
            yield backend, server
        finally:
            await backend.aclose()


async def failure_of(backend: OpenAICompatible, request: ModelRequest = ASK) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await complete(backend, request)
    assert SECRET not in repr(caught.value)
    assert PRIVATE not in repr(caught.value)
    assert caught.value.retryable
    return caught.value


def refusal(status: int, body: str) -> Raw:
    return Raw(body.encode(), status=status, content_type="application/json")


async def test_a_connection_is_used_again_after_each_answer() -> None:
    async with talking_to(lambda request: Say("hello", delay_s=0.001)) as (backend, server):
        for _ in range(5):
            await complete(backend, ASK)

        assert len(server.connections) == 1


async def test_a_dropped_connection_is_tried_once_more_and_only_once() -> None:
    replies: list[HttpReply] = [
        Say("one"),
        Drop(),
        Say("two"),
        Drop(),
        Drop(),
        Say("never asked for"),
    ]
    async with talking_to(replies) as (backend, server):
        assert (await complete(backend, ASK))[0] == "one"
        assert (await complete(backend, ASK))[0] == "two"
        assert "no answer from" in str(await failure_of(backend))
        assert len(server.requests) == 5


@pytest.mark.parametrize("fault", [Cut("half of it", after_chunks=1), Cut("", after_chunks=0)])
async def test_a_cut_stream_is_an_error_and_is_not_sent_again(fault: Cut) -> None:
    async with talking_to([fault, Say("again")]) as (backend, server):
        assert "before the answer was whole" in str(await failure_of(backend))
        assert len(server.requests) == 1


async def test_an_error_in_mid_stream_is_an_error() -> None:
    broken = FailMidStream("half", BackendError("x", PRIVATE, retryable=True))
    async with talking_to([broken]) as (backend, _):
        assert "mid-stream" in str(await failure_of(backend))


async def test_silence_before_the_first_token_ends_at_its_timeout() -> None:
    request = ModelRequest(ASK.messages, 64, first_token_timeout_s=0.15, gap_timeout_s=9)
    async with talking_to([Stall()]) as (backend, _):
        started = time.monotonic()
        assert "did not begin to answer within 0.15 s" in str(await failure_of(backend, request))
        assert time.monotonic() - started < 2


async def test_silence_between_tokens_ends_at_its_own_timeout() -> None:
    async with talking_to([Stall(after_chunks=2)]) as (backend, _):
        assert "nothing more within 0.2 s" in str(await failure_of(backend))


async def test_a_slow_reader_is_not_taken_for_a_silent_server() -> None:
    async with talking_to([Say("a b c d e f", chunk=2, delay_s=0.01)]) as (backend, _):
        texts = []
        async for item in backend.stream(ASK):
            texts.append(getattr(item, "text", ""))
            if len(texts) == 1:
                await asyncio.sleep(0.4)

    assert "".join(texts) == "a b c d e f"


async def test_closing_the_stream_is_seen_by_the_server_at_once() -> None:
    async with talking_to([Stall(after_chunks=1)]) as (backend, server):
        stream = backend.stream(ASK)
        await anext(stream)
        await stream.aclose()

        async with asyncio.timeout(0.5):
            await server.disconnected.wait()


async def test_a_server_without_json_schema_gets_simpler_requests_and_it_is_remembered() -> None:
    policy = lambda request: Step({"x": 1})  # noqa: E731
    async with talking_to(policy, formats=("text", "json_object")) as (backend, server):
        assert backend.capabilities.constrained
        await complete(backend, STRUCTURED)
        text, _ = await complete(backend, STRUCTURED)

        sent = [each["response_format"]["type"] for each in server.requests]
        assert sent == ["json_schema", "json_object", "json_object"]
        assert json.loads(text) == {"x": 1}
        assert not backend.capabilities.constrained
        assert '"required":["x"]' in server.requests[-1]["messages"][-1]["content"]


async def test_a_server_with_no_response_format_at_all_still_answers() -> None:
    async with talking_to(lambda request: Step({"x": 1}), formats=()) as (backend, server):
        assert (await complete(backend, STRUCTURED))[0] == '{"x": 1}'
        assert "response_format" not in server.requests[-1]


async def test_a_server_that_wants_max_completion_tokens_gets_it() -> None:
    wish = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    asks = refusal(400, json.dumps({"error": {"message": wish}}))
    replies: list[HttpReply] = [asks, Say("a"), Say("b")]
    async with talking_to(replies) as (backend, server):
        await complete(backend, ASK)
        await complete(backend, ASK)

        assert ["max_completion_tokens" in each for each in server.requests] == [False, True, True]


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ("Unrecognized request argument supplied: stream_options", "stream_options"),
        ("Unsupported value: 'temperature' does not support 0 with this model.", "temperature"),
    ],
)
async def test_a_field_that_a_server_does_not_take_is_left_out_from_then_on(
    wish: str, field: str
) -> None:
    asks = refusal(400, json.dumps({"error": {"message": wish}}))
    replies: list[HttpReply] = [asks, Say("a"), Say("b")]
    async with talking_to(replies) as (backend, server):
        await complete(backend, ASK)
        await complete(backend, ASK)

        assert [field in each for each in server.requests] == [True, False, False]


async def test_an_empty_text_is_sent_as_an_empty_string() -> None:
    messages = (PromptMessage("assistant", ""), PromptMessage("user", "go on"))
    async with talking_to([Say("yes")]) as (backend, server):
        await complete(backend, ModelRequest(messages, 16))

        assert server.requests[0]["messages"][0] == {"role": "assistant", "content": ""}


UNKNOWN_MODEL = [
    (
        404,
        '{"error":{"message":"The model `m` does not exist.","type":"NotFoundError","code":404}}',
    ),
    (
        404,
        '{"error":{"message":"model \\"m\\" not found, try pulling it first","type":"api_error"}}',
    ),
    (404, '{"error":{"message":"gone","code":"DeploymentNotFound"}, "x": "model"}'),
    (404, '{"status":404,"title":"Not Found","detail":"Function 1: Not found for account"}'),
    (410, ""),
]


@pytest.mark.parametrize(("status", "body"), UNKNOWN_MODEL)
async def test_a_model_that_is_gone_retires_the_route(status: int, body: str) -> None:
    async with talking_to([refusal(status, body)]) as (backend, _):
        assert isinstance(await failure_of(backend), RouteRetired)


WRONG_PATH = ["", "404 page not found", '{"detail":"Not Found"}', "<html>no</html>"]
WRONG_PATH += ['{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}']


@pytest.mark.parametrize("body", WRONG_PATH)
async def test_a_wrong_path_names_base_url(body: str) -> None:
    async with talking_to([refusal(404, body)]) as (backend, _):
        error = await failure_of(backend)

    assert not isinstance(error, RouteRetired)
    assert "base_url" in str(error)


TOO_LONG = [
    '{"error":{"message":"x","code":"context_length_exceeded"}}',
    '{"error":{"code":400,"message":"request (4476 tokens) exceeds the available context size '
    '(4096 tokens)","type":"exceed_context_size_error","n_prompt_tokens":4476,"n_ctx":4096}}',
    '{"object":"error","message":"This model\'s maximum context length is 4096 tokens."}',
]


@pytest.mark.parametrize("body", TOO_LONG)
async def test_a_prompt_the_server_finds_too_long_is_prompt_too_long(body: str) -> None:
    async with talking_to([refusal(400, body)]) as (backend, _):
        error = await failure_of(backend)

    assert isinstance(error, PromptTooLong)
    assert error.tokens > error.limit


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "the API key was refused (401, scripted_failure); check the route's api_key"),
        (403, "the API key was refused (403"),
        (429, "too many requests or no quota left (429"),
        (500, "the server failed (500"),
        (503, "the server failed (503"),
        (400, "the request was refused (400"),
    ],
)
async def test_each_refusal_names_its_remedy(status: int, words: str) -> None:
    fault = Fail(BackendError("x", f"quoting {PRIVATE}", retryable=True), status=status)
    async with talking_to(lambda request: fault) as (backend, _):
        assert words in str(await failure_of(backend))


async def test_a_server_that_is_not_there_is_named() -> None:
    backend = OpenAICompatible(
        "away",
        base_url="http://127.0.0.1:9/v1",
        model="m",
        api_key=None,
        capabilities=DEFAULT_CAPABILITIES,
    )
    assert "127.0.0.1:9" in str(await failure_of(backend))
    await backend.aclose()


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"data: {nonsense}\n\n", b""])
async def test_what_is_no_stream_of_chunks_is_an_error(body: bytes) -> None:
    async with talking_to([Raw(body)]) as (backend, _):
        await failure_of(backend)


async def test_a_server_that_ignores_stream_is_understood() -> None:
    body = b'{"choices":[{"message":{"content":"all at once"},"finish_reason":"stop"}]}'
    async with talking_to([Raw(body, content_type="application/json")]) as (backend, _):
        assert (await complete(backend, ASK))[0] == "all at once"


async def test_the_server_counts_tokens_where_it_can() -> None:
    async with talking_to([]) as (backend, _):
        assert await backend.count_tokens("one two three") == 4  # the scripted count
