"""The wall clock jumps; turns don't notice, because leases run by Redis' clock (row A6)."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import pytest

from adapters.models.scripted import ScriptedBackend, Step
from tests.bot.test_bot import Chat, bot_with, message, settings_in, until


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
async def test_no_turn_is_lost_doubled_or_late_when_the_clock_jumps(
    tmp_path: Path, jump_s: float
) -> None:
    """It jumps at every reading, there and back, over turns longer than a lease."""
    readings = itertools.count()

    def jumping() -> float:
        return time.time() + (jump_s if next(readings) % 2 else 0.0)

    slow = Step(
        {"thought": "", "step": {"action": "final", "arguments": {"answer": "Done at last."}}},
        chunk=4,
        delay_s=0.2,
    )
    chat, backend = Chat(), ScriptedBackend("scripted", lambda request: slow)
    settings = settings_in(tmp_path, **{"turns.workers": 8})
    async with bot_with(chat, settings, backend, clock=jumping) as (bot, stop):
        for number in range(10):
            await bot.inbox.accept(message("Well?", thread=f"t{number}"))
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.run(stop))
            await until(lambda: len(chat.delivered) == 10)
            await asyncio.sleep(1.2)  # past a lease: nothing is taken over
            stop.set()

    assert all(texts == ["Done at last."] for texts in chat.delivered.values())
    assert all(len(placeholders) == 1 for placeholders in chat.opened.values())
