"""What every `ModelBackend` keeps, run on each of them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import jsonschema
import msgspec
import pytest

from agents.errors import BackendError, PromptTooLong
from agents.ports import (
    Delta,
    Finish,
    ImageData,
    ModelBackend,
    ModelRequest,
    PromptMessage,
    complete,
)
from tests.contracts.backends import BACKENDS, COLOUR_SCHEMA

CANCEL_LIMIT_S = 0.2
PIXEL = ImageData(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
    ),
    "image/png",
)
ASK = ModelRequest((PromptMessage("user", "Count from one to ten, three times."),), max_tokens=256)


@pytest.fixture(params=sorted(BACKENDS))
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[ModelBackend]:
    async with BACKENDS[request.param]() as made:
        yield made


async def test_a_stream_is_deltas_and_then_exactly_one_finish(backend: ModelBackend) -> None:
    async with aclosing(backend.stream(ASK)) as stream:
        items = [item async for item in stream]

    assert [type(item) for item in items] == [Delta] * (len(items) - 1) + [Finish]
    assert len(items) > 2
    assert all(item.text for item in items if isinstance(item, Delta))


async def test_the_same_request_at_temperature_zero_gives_the_same_text(
    backend: ModelBackend,
) -> None:
    assert (await complete(backend, ASK))[0] == (await complete(backend, ASK))[0] != ""


async def test_closing_the_stream_cancels_within_200_ms_and_leaves_the_backend_usable(
    backend: ModelBackend,
) -> None:
    stream = backend.stream(ASK)
    assert isinstance(await anext(stream), Delta)

    started = time.monotonic()
    await stream.aclose()

    assert time.monotonic() - started < CANCEL_LIMIT_S
    assert (await complete(backend, ASK))[0]


async def test_cancelling_the_waiting_task_is_as_quick(backend: ModelBackend) -> None:
    task = asyncio.create_task(complete(backend, ASK), name="to be cancelled")
    await asyncio.sleep(0.02)

    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert time.monotonic() - started < CANCEL_LIMIT_S
    assert (await complete(backend, ASK))[0]


async def test_usage_counts_prompt_and_answer(backend: ModelBackend) -> None:
    _, finish = await complete(backend, ASK)

    assert finish.usage.prompt_tokens > 0
    assert 0 < finish.usage.completion_tokens <= ASK.max_tokens


async def test_an_answer_at_the_token_limit_says_so(backend: ModelBackend) -> None:
    text, finish = await complete(backend, msgspec.structs.replace(ASK, max_tokens=4))

    assert finish.reason == "length"
    assert text


async def test_a_schema_gives_json_of_that_schema(backend: ModelBackend) -> None:
    if not backend.capabilities.constrained:
        pytest.skip("this backend does not claim constrained decoding")
    asked = PromptMessage("user", "Choose a colour. Answer in JSON.")

    text, finish = await complete(backend, ModelRequest((asked,), 64, schema=COLOUR_SCHEMA))

    jsonschema.validate(msgspec.json.decode(text), COLOUR_SCHEMA)
    assert finish.reason == "stop"


async def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(backend: ModelBackend) -> None:
    whole, _ = await complete(backend, ASK)
    stop = whole[len(whole) // 2 :][:4]
    expected = whole.partition(stop)[0]

    text, finish = await complete(backend, msgspec.structs.replace(ASK, stop=(stop,)))

    assert text == expected
    assert finish.reason == "stop"


async def test_an_over_long_prompt_is_refused_before_it_is_sent(backend: ModelBackend) -> None:
    limit = backend.capabilities.context_tokens
    message = PromptMessage("user", "word " * limit)

    with pytest.raises(PromptTooLong) as caught:
        await complete(backend, ModelRequest((message,), max_tokens=64))

    assert caught.value.tokens > caught.value.limit == limit - 64
    assert "word" not in str(caught.value)


async def test_two_streams_at_once_both_finish(backend: ModelBackend) -> None:
    one, other = await asyncio.gather(complete(backend, ASK), complete(backend, ASK))

    assert one[0] == other[0] != ""


async def test_images_are_taken_up_to_the_declared_number(backend: ModelBackend) -> None:
    most = backend.capabilities.max_images
    if not most:
        pytest.skip("this backend takes no images")
    message = PromptMessage("user", "What is this?", (PIXEL,) * most)

    assert (await complete(backend, ModelRequest((message,), 32)))[0]


async def test_one_image_too_many_is_a_clear_refusal(backend: ModelBackend) -> None:
    images = (PIXEL,) * (backend.capabilities.max_images + 1)

    with pytest.raises(BackendError, match="images"):
        await complete(backend, ModelRequest((PromptMessage("user", "What?", images),), 32))


async def test_a_longer_text_counts_more_tokens(backend: ModelBackend) -> None:
    counts = [await backend.count_tokens("word " * times) for times in (0, 1, 10, 100)]

    assert counts == sorted(set(counts))


async def test_closing_twice_is_harmless_and_a_closed_backend_refuses(
    backend: ModelBackend,
) -> None:
    await backend.aclose()
    await backend.aclose()

    with pytest.raises(BackendError):
        await complete(backend, ASK)
