"""The Ollama backend and its pull against an Ollama on loopback that misbehaves on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.models.hub import PullError
from adapters.models.ollama import OllamaBackend
from adapters.models.ollama_pull import pull_with_ollama
from adapters.models.pull import PullProgress
from adapters.models.scripted import Cut, Fail, FailMidStream, Policy, Reply, Say, Stall, Step
from agents.errors import BackendError, RouteRetired
from agents.ports import ImageData, ModelRequest, PromptMessage, complete
from tests.twins.ollama import OllamaModel, OllamaTwin, Pull

PRIVATE = "my private question"
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
ASK = ModelRequest(
    (PromptMessage("user", PRIVATE),), 64, first_token_timeout_s=0.3, gap_timeout_s=0.2
)
STRUCTURED = ModelRequest((PromptMessage("user", PRIVATE),), 64, schema=SCHEMA)
BROKEN = BackendError("twin", "scripted failure", retryable=True)


@asynccontextmanager
async def talking_to(
    replies: Sequence[Reply] | Policy, *, context_tokens: int = 4096, **twin_options: Any
) -> AsyncIterator[tuple[OllamaBackend, OllamaTwin]]:
    twin = OllamaTwin(replies, **twin_options)
    async with twin as url:
        backend = await OllamaBackend.load(
            "near", model="phi3.5", base_url=url, context_tokens=context_tokens
        )
        yield backend, twin
        await backend.aclose()


async def refusal_to_load(model: str, twin: OllamaTwin, template: str | None = None) -> str:
    async with twin as url:
        with pytest.raises(BackendError) as caught:
            await OllamaBackend.load("near", model=model, base_url=url, template=template)
    return str(caught.value)


async def test_the_request_is_our_own_prompt_with_schema_and_window() -> None:
    async with talking_to([Step({"x": 1})]) as (backend, twin):
        text, finish = await complete(backend, STRUCTURED)

    (sent,) = twin.script.requests
    assert (text, finish.reason) == ('{"x": 1}', "stop")
    assert sent["raw"] is True
    assert sent["prompt"] == f"<|user|>\n{PRIVATE}<|end|>\n<|assistant|>\n"
    assert sent["format"] == SCHEMA
    assert sent["options"]["num_ctx"] == 4096
    assert sent["options"]["stop"] == []


async def test_a_smaller_loaded_window_is_logged_and_becomes_the_limit() -> None:
    small = OllamaModel("phi3.5:latest", room_tokens=2048)
    with capture_logs() as logs:
        async with talking_to([], context_tokens=8192, models=[small]) as (backend, _):
            assert backend.capabilities.context_tokens == 2048

    (found,) = [each for each in logs if each["event"] == "ollama.smaller_context"]
    assert (found["asked_tokens"], found["context_tokens"]) == (8192, 2048)


async def test_a_missing_model_names_the_command_that_fetches_it() -> None:
    twin = OllamaTwin([], models=[])
    async with twin as url:
        with pytest.raises(RouteRetired, match=r"run: ollama pull phi3\.5"):
            await OllamaBackend.load("near", model="phi3.5", base_url=url)


async def test_a_model_of_an_unknown_family_asks_for_a_template() -> None:
    assert "set the route's template" in await refusal_to_load("gemma3", OllamaTwin([]))
    assert "'phi9' is not known" in await refusal_to_load("phi3.5", OllamaTwin([]), "phi9")


async def test_a_model_computed_elsewhere_is_refused() -> None:
    cloud = OllamaModel("phi3.5:latest", remote_host="https://ollama.com")

    assert "computed elsewhere" in await refusal_to_load("phi3.5", OllamaTwin([], models=[cloud]))


async def test_a_server_before_schemas_says_which_version_is_needed() -> None:
    async with talking_to([Say("fine")], version="0.4.7") as (backend, twin):
        assert not backend.capabilities.constrained
        with pytest.raises(BackendError, match=r"Ollama 0\.4\.7 .* update it to 0\.5"):
            await complete(backend, STRUCTURED)
        assert not twin.script.requests
        assert (await complete(backend, ASK))[0] == "fine"


async def test_a_schema_the_engine_refuses_is_a_clear_error_without_user_text() -> None:
    said = f"failed to parse grammar of {PRIVATE}"
    async with talking_to([], refuses_schema=said) as (backend, _):
        with pytest.raises(BackendError, match="answer's schema") as caught:
            await complete(backend, STRUCTURED)

    assert PRIVATE not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Fail(BROKEN, status=500), "the server failed"),
        (FailMidStream("some text here", BROKEN), "error in mid-stream"),
        (Cut("some text here"), "broke|ended before"),
        (Stall(), "did not begin to answer within 0.3 s"),
        (Stall(after_chunks=1), "sent nothing more within 0.2 s"),
    ],
)
async def test_a_broken_answer_is_never_a_whole_one(reply: Reply, said: str) -> None:
    async with talking_to([reply]) as (backend, _):
        with pytest.raises(BackendError, match=said):
            await complete(backend, ASK)


async def test_closing_the_stream_hangs_up_so_that_ollama_stops() -> None:
    async with talking_to([Stall(after_chunks=1)]) as (backend, twin):
        stream = backend.stream(ASK)
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(2):
            await twin.script.disconnected.wait()


async def test_images_go_to_a_seeing_model_and_typed_image_tags_are_broken() -> None:
    seeing = OllamaModel("phi3.5:latest", capabilities=("completion", "vision"))
    picture = ImageData(b"\x89PNG", "image/png")
    asked = ModelRequest((PromptMessage("user", "what of [img-0]?", (picture,)),), 16)
    async with talking_to([Say("a dot")], models=[seeing]) as (backend, twin):
        await complete(backend, asked)

    (sent,) = twin.script.requests
    assert "<|user|>\n[img-0]what of [ img-0]?" in sent["prompt"]
    assert len(sent["images"]) == 1


async def test_a_pull_reports_its_bytes_and_ends_with_the_model_there() -> None:
    twin, steps = OllamaTwin([]), list[PullProgress]()
    async with twin as url:
        await pull_with_ollama("phi3.5", base_url=url, progress=steps.append)

    assert twin.pulled == ["phi3.5"]
    assert (steps[-1].done_bytes, steps[-1].total_bytes) == (1000, 1000)


async def test_a_pull_that_fails_says_what_ollama_said() -> None:
    async with OllamaTwin([], pull=Pull(error="file does not exist")) as url:
        with pytest.raises(PullError, match="could not fetch 'nope': file does not exist"):
            await pull_with_ollama("nope", base_url=url)
    with pytest.raises(PullError, match="is it running"):
        await pull_with_ollama("nope", base_url=url)
