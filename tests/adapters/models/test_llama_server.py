"""The llama-server backend against a llama-server on loopback that misbehaves on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from adapters.models.llama_server import LlamaServerBackend
from adapters.models.scripted import Cut, FailMidStream, Reply, Say, Step
from adapters.models.server_link import ServerLink
from agents.errors import BackendError, PromptTooLong
from agents.ports import Capabilities, ModelRequest, Probed, PromptMessage, complete
from tests.twins.llama_server import LlamaServerTwin

PRIVATE = "my private question"
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
ASK = ModelRequest((PromptMessage("user", PRIVATE),), 64)
BROKEN = BackendError("twin", "scripted failure", retryable=True)


@asynccontextmanager
async def talking_to(
    replies: Sequence[Reply], *, context_tokens: int | None = None, **twin_options: Any
) -> AsyncIterator[tuple[LlamaServerBackend, LlamaServerTwin]]:
    twin = LlamaServerTwin(replies, **twin_options)
    async with twin as url:
        backend = await LlamaServerBackend.load("near", base_url=url, context_tokens=context_tokens)
        yield backend, twin
        await backend.aclose()


async def test_the_request_is_our_own_prompt_with_schema_and_prompt_cache() -> None:
    async with talking_to([Step({"x": 1})]) as (backend, twin):
        text, finish = await complete(backend, msgspec.structs.replace(ASK, schema=SCHEMA))

    (sent,) = twin.script.requests
    assert (text, finish.reason) == ('{"x": 1}', "stop")
    assert sent["prompt"] == f"<|user|>\n{PRIVATE}<|end|>\n<|assistant|>\n"
    assert (sent["json_schema"], sent["cache_prompt"], sent["stop"]) == (SCHEMA, True, [])


async def test_the_window_is_the_servers_and_a_setting_only_narrows_it() -> None:
    twin = LlamaServerTwin([], context_tokens=2048)
    async with twin as url:
        for asked, got in ((None, 2048), (8192, 2048), (1024, 1024)):
            backend = await LlamaServerBackend.load("near", base_url=url, context_tokens=asked)
            assert backend.capabilities.context_tokens == got
            await backend.aclose()


async def test_the_servers_own_count_lets_a_prompt_in_that_the_estimate_would_refuse() -> None:
    long = ModelRequest((PromptMessage("user", "abcd " * 300),), 64)
    async with talking_to([Say("fine")], context_tokens=512) as (backend, _):
        assert (await complete(backend, long))[0] == "fine"
    async with talking_to([Say("fine")], context_tokens=512, counts=False) as (backend, twin):
        with pytest.raises(PromptTooLong):
            await complete(backend, long)
        assert not twin.script.requests


async def test_a_schema_without_a_grammar_is_a_clear_error() -> None:
    schema = {"type": "object", "patternProperties": {"a": {"type": "string"}}}
    async with talking_to([]) as (backend, _):
        with pytest.raises(BackendError, match="could not make a grammar"):
            await complete(backend, msgspec.structs.replace(ASK, schema=schema))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"is_loading": True}, "loading its model"),
        ({"api_key": "wanted"}, "API key"),
        ({"model_path": "/models/gemma.gguf"}, "set the route's template"),
    ],
)
async def test_a_server_that_cannot_serve_yet_says_why(options: dict[str, Any], said: str) -> None:
    async with LlamaServerTwin([], **options) as url:
        with pytest.raises(BackendError, match=said):
            await LlamaServerBackend.load("near", base_url=url)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (FailMidStream("some text here", BROKEN), "error in mid-stream"),
        (Cut("some text here"), "broke|ended before"),
    ],
)
async def test_a_broken_answer_is_never_a_whole_one(reply: Reply, said: str) -> None:
    async with talking_to([reply]) as (backend, _):
        with pytest.raises(BackendError, match=said):
            await complete(backend, ASK)


async def test_a_server_that_is_away_is_named() -> None:
    async with LlamaServerTwin([]) as url:
        pass
    with pytest.raises(BackendError, match=r"no answer from 127\.0\.0\.1:\d+ .* running"):
        await LlamaServerBackend.load("near", base_url=url)


async def test_a_probe_tells_whether_the_server_is_there_and_asks_no_model() -> None:
    async with talking_to([]) as (backend, twin):
        assert isinstance(backend, Probed)
        await backend.probe()
        assert not twin.script.requests
    gone = LlamaServerBackend(
        "gone",
        ServerLink("gone", "http://127.0.0.1:1"),
        model="",
        template="phi3",
        capabilities=Capabilities(512),
    )
    with pytest.raises(BackendError, match="is the server running"):
        await gone.probe()
    await gone.aclose()
