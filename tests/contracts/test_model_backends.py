"""What every `ModelBackend` keeps, run on each of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from adapters.models.check import ASK, CANCEL_LIMIT_S, CHECKS, CheckSkipped
from agents.ports import ModelBackend, ModelRequest, PromptMessage, complete
from tests.contracts.backends import BACKENDS
from tests.contracts.engines import ENGINE_BACKENDS, engine_params

ALL = {**BACKENDS, **ENGINE_BACKENDS}


@pytest.fixture(params=[*sorted(BACKENDS), *engine_params()])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[ModelBackend]:
    async with ALL[request.param]() as made:
        yield made


@pytest.mark.parametrize("name", CHECKS)
async def test_what_a_live_route_is_checked_for_holds(backend: ModelBackend, name: str) -> None:
    try:
        await CHECKS[name](backend)
    except CheckSkipped as why:
        pytest.skip(str(why))


async def test_the_same_request_at_temperature_zero_gives_the_same_text(
    backend: ModelBackend,
) -> None:
    assert (await complete(backend, ASK))[0] == (await complete(backend, ASK))[0] != ""


async def test_cancelling_the_waiting_task_is_as_quick(backend: ModelBackend) -> None:
    task = asyncio.create_task(complete(backend, ASK), name="to be cancelled")
    await asyncio.sleep(0.02)

    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert time.monotonic() - started < CANCEL_LIMIT_S
    assert (await complete(backend, ASK))[0]


async def test_a_prompt_that_nearly_fills_the_window_is_answered(backend: ModelBackend) -> None:
    room = backend.capabilities.context_tokens - 40
    words = "word " * (room // 8)
    while await backend.count_tokens(words * 2) < room:
        words *= 2
    request = ModelRequest((PromptMessage("user", words),), max_tokens=8, first_token_timeout_s=50)

    _, finish = await complete(backend, request)  # some models have nothing to say to that

    assert finish.usage.prompt_tokens > room / 4
