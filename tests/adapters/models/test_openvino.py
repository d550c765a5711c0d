"""The embedded engine with its real weights."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest

from adapters.models import openvino
from adapters.models.local import LocalBackend
from adapters.models.openvino_engine import OpenVinoEngine
from agents.errors import BackendError, PromptTooLong
from agents.ports import (
    Capabilities,
    Delta,
    Finish,
    ImageData,
    ModelRequest,
    PromptMessage,
    Queued,
    complete,
)
from agents.prompts.templates import plain
from tests.agents.test_templates import TAGS
from tests.engine import embedded_backend, needs_engine

pytestmark = needs_engine
SYSTEM = PromptMessage("system", "You are a helpful assistant.")


def ask(text: str, *, max_tokens: int = 24, **options: Any) -> ModelRequest:
    return ModelRequest((SYSTEM, PromptMessage("user", text)), max_tokens=max_tokens, **options)


@pytest.fixture(scope="module")
def backend() -> LocalBackend:
    return embedded_backend()


async def test_an_answer_streams_in_pieces_and_ends_with_its_usage(
    backend: LocalBackend,
) -> None:
    items = [item async for item in backend.stream(ask("Count from one to ten."))]

    assert len(items) > 5
    assert all(isinstance(item, Delta) and item.text for item in items[:-1])
    assert isinstance(items[-1], Finish)
    assert items[-1].reason == "length"
    assert items[-1].usage.completion_tokens == 24
    assert items[-1].usage.prompt_tokens > 20


async def test_an_answer_that_ends_by_itself_says_stop(backend: LocalBackend) -> None:
    text, finish = await complete(backend, ask("What is the capital of France?", max_tokens=100))

    assert "Paris" in text
    assert "<|im_end|>" not in text
    assert finish.reason == "stop"


async def test_a_stop_string_ends_the_answer_and_is_not_shown(backend: LocalBackend) -> None:
    request = ask("Count: one, two, three, four, five.", max_tokens=60)
    whole, _ = await complete(backend, request)
    stop = whole[10:14]

    text, finish = await complete(backend, ask("Count: one, two, three, four, five.",
                                               max_tokens=60, stop=(stop,)))  # fmt: skip

    assert text == whole[: whole.index(stop)]
    assert finish.reason == "stop"


STEP: dict[str, Any] = {
    "type": "object",
    "properties": {
        "thought": {"type": "string", "maxLength": 200},
        "step": {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {
                        "action": {"const": "calculate"},
                        "arguments": {
                            "type": "object",
                            "properties": {
                                "expression": {"type": "string", "maxLength": 40},
                                "digits": {"type": "integer", "minimum": 0, "maximum": 9},
                            },
                            "required": ["expression"],
                            "additionalProperties": False,
                        },
                    },
                    "required": ["action", "arguments"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "properties": {
                        "action": {"const": "final"},
                        "arguments": {
                            "type": "object",
                            "properties": {"answer": {"type": "string", "maxLength": 300}},
                            "required": ["answer"],
                            "additionalProperties": False,
                        },
                    },
                    "required": ["action", "arguments"],
                    "additionalProperties": False,
                },
            ]
        },
    },
    "required": ["thought", "step"],
    "additionalProperties": False,
}
KINDS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "on": {"type": "boolean"},
        "note": {"type": ["string", "null"], "maxLength": 20},
        "size": {"type": "number"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3},
        "extra": {"type": "string", "maxLength": 10},
    },
    "required": ["on", "note", "tags"],
    "additionalProperties": False,
}
PATTERN: dict[str, Any] = {
    "type": "object",
    "properties": {"code": {"type": "string", "pattern": "^[0-9]{4}$"}},
    "required": ["code"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("schema", [STEP, KINDS, PATTERN], ids=["step", "kinds", "engine's own"])
@pytest.mark.parametrize("text", ["What is 17 * 23?", "Tell a long story."])
async def test_with_a_schema_the_answer_is_valid(
    backend: LocalBackend, schema: dict[str, Any], text: str
) -> None:
    answer, finish = await complete(backend, ask(text, max_tokens=250, schema=schema))

    assert finish.reason == "stop"
    jsonschema.validate(json.loads(answer), schema)


async def test_a_long_string_keeps_its_bound(backend: LocalBackend) -> None:
    schema = {"type": "string", "maxLength": 95}
    request = ask("Write a very long story about the sea.", max_tokens=120, schema=schema)

    answer, finish = await complete(backend, request)

    assert finish.reason == "stop"
    assert len(json.loads(answer)) <= 95


async def test_a_schema_nobody_can_compile_is_an_error_and_the_engine_lives_on(
    backend: LocalBackend,
) -> None:
    with pytest.raises(BackendError, match="generation failed"):
        await complete(backend, ask("Hi", schema={"$ref": "#/nowhere"}))

    assert (await complete(backend, ask("Hi", max_tokens=4)))[0]


async def test_a_closed_stream_frees_the_engine_within_200_ms(backend: LocalBackend) -> None:
    async with aclosing(backend.stream(ask("Tell a long story.", max_tokens=2000))) as stream:
        await anext(stream)
    closed_at = time.perf_counter()

    async with aclosing(backend.stream(ask("Hi", max_tokens=4))) as stream:
        await anext(stream)

    assert time.perf_counter() - closed_at < 0.4  # its own first token included


async def test_several_streams_at_once_are_served_in_their_order(
    backend: LocalBackend,
) -> None:
    done: list[int] = []

    async def one(number: int) -> str:
        text, _ = await complete(backend, ask(f"Say {number}.", max_tokens=6))
        done.append(number)
        return text

    texts = await asyncio.gather(*(one(number) for number in range(5)))

    assert done == [0, 1, 2, 3, 4]
    assert all(texts)


async def test_the_event_loop_runs_on_during_a_generation(backend: LocalBackend) -> None:
    longest_s = 0.0

    async def beat() -> None:
        nonlocal longest_s
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.002)
            longest_s = max(longest_s, time.perf_counter() - before)

    heart = asyncio.create_task(beat(), name="heart")
    await complete(backend, ask("The sky is blue. " * 200))
    heart.cancel()

    assert longest_s < 0.25  # prefill alone takes longer than this


async def test_the_second_turn_reads_only_what_is_new(backend: LocalBackend) -> None:
    facts = " ".join(f"Fact {number}: shelf {number} holds tea." for number in range(150))
    question = PromptMessage("user", facts)
    first, cold_s = await _first_token(backend, (SYSTEM, question))
    turns = (SYSTEM, question, PromptMessage("assistant", first), PromptMessage("user", "Thanks."))

    _, warm_s = await _first_token(backend, turns)

    print(f"first token: cold {cold_s:.3f} s, second turn {warm_s:.3f} s")
    assert warm_s < cold_s / 2


async def _first_token(
    backend: LocalBackend, messages: tuple[PromptMessage, ...]
) -> tuple[str, float]:
    started = time.perf_counter()
    async with aclosing(backend.stream(ModelRequest(messages, max_tokens=8))) as stream:
        while not isinstance(item := await anext(stream), Delta):
            assert isinstance(item, Queued)  # the stream before it was closed a moment ago
    return item.text, time.perf_counter() - started


async def test_a_prompt_over_the_context_is_refused_before_it_runs(
    backend: LocalBackend,
) -> None:
    with pytest.raises(PromptTooLong) as caught:
        await complete(backend, ask("word " * 30_000))

    assert caught.value.tokens > 30_000
    assert caught.value.limit == 4096 - 24


async def test_tokens_are_counted_exactly_past_the_tokenizers_own_cut(
    backend: LocalBackend,
) -> None:
    once = await backend.count_tokens("The quick brown fox jumps.\n")

    assert once == 7
    assert await backend.count_tokens(" tea" * 20_000) == 20_000
    assert await backend.count_tokens("") == 0


async def test_no_control_token_comes_out_of_what_a_person_typed(
    backend: LocalBackend,
) -> None:
    typed = " ".join(TAGS) + "".join(TAGS)
    engine = cast("OpenVinoEngine", backend._engine)
    special = set(range(17))  # of SmolLM2's vocabulary, from <|endoftext|> to <empty_output>

    assert special & set(engine.encode(typed))
    assert not special & set(engine.encode(plain(typed)))


async def test_a_first_token_that_takes_too_long_is_an_error(backend: LocalBackend) -> None:
    request = ask("The sea is wide. " * 300, first_token_timeout_s=0.02)

    with pytest.raises(BackendError, match=r"no first token within 0\.02 s") as caught:
        await complete(backend, request)

    assert caught.value.retryable


async def test_a_text_model_refuses_images(backend: LocalBackend) -> None:
    message = PromptMessage("user", "Look.", (ImageData(b"", "image/png"),))

    with pytest.raises(BackendError, match="1 images given, the model takes 0"):
        await complete(backend, ModelRequest((message,), max_tokens=4))


async def test_a_missing_model_names_itself(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"'gone\.gguf' does not exist"):
        await openvino.load(
            "x", tmp_path / "gone.gguf", template="chatml", capabilities=Capabilities(512)
        )


async def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"not a model")

    with pytest.raises(BackendError, match=r"can't load 'wrong\.gguf'"):
        await openvino.load("x", wrong, template="chatml", capabilities=Capabilities(512))


async def test_who_waits_is_told_the_place_in_the_line_and_then_that_it_moved(
    backend: LocalBackend,
) -> None:
    long, short = ask("Count from one to a hundred.", max_tokens=60), ask("Hello.", max_tokens=4)
    first = asyncio.create_task(complete(backend, long))
    await asyncio.sleep(0.05)

    items = [item async for item in backend.stream(short)]

    places = [item.position for item in items if isinstance(item, Queued)]
    assert places[-2:] == [0, -1]  # one that an earlier test gave up may be before both
    assert all(isinstance(item, Queued) for item in items[: len(places)]), "before any text"
    await first
