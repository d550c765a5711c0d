"""The machine's wall clock jumps while turns run (row A6): leases go by Redis' own time."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest
import structlog

from adapters.models.scripted import ScriptedBackend, demo_policy
from agents.routing import Route, Router
from bot.app import open_bot
from bot.records import Ending, Event
from bot.stores import open_stores
from tests.bot.test_bot import Chat, message, settings_in, until
from tests.drills.figures import RecordFigure

FULL = [pytest.mark.drill, pytest.mark.timeout(300)]
JUMPS_S = (3600, -3600, 300, -300)


@pytest.mark.parametrize("jumps", [20, pytest.param(100, marks=FULL)])
async def test_a_jump_of_the_wall_clock_has_no_effect_on_turns(
    jumps: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    dice, offset = random.Random(jumps), [0.0]
    chat, ended = Chat(), list[tuple[Event, Ending]]()
    backend = ScriptedBackend("scripted", demo_policy)

    async def load() -> ScriptedBackend:
        await asyncio.sleep(0)
        return backend

    router = Router({"planner": [Route("scripted", "scripted", "demo", "local", load)]})
    settings = settings_in(tmp_path)
    with structlog.testing.capture_logs() as logged:
        async with (
            open_stores(settings) as stores,
            open_bot(
                settings,
                stores,
                [chat],
                router=router,
                ended=lambda event, ending: ended.append((event, ending)),
                clock=lambda: time.time() + offset[0],
            ) as bot,
            asyncio.TaskGroup() as group,
        ):
            stop = asyncio.Event()
            group.create_task(bot.run(stop))
            for number in range(jumps):
                await bot.inbox.accept(message("What is 6*7?", thread=f"t{number}"))
                await asyncio.sleep(dice.uniform(0, 0.05))
                offset[0] += dice.choice(JUMPS_S)
            await until(lambda: len(chat.delivered) == jumps, 60)
            stop.set()

    doubled = sum(len(parts) > 1 for parts in chat.delivered.values())
    failed = sum(ending.state != "answered" for _, ending in ended)
    stale = sum(entry["event"] == "fence.stale" for entry in logged)
    again = len(backend.requests) % jumps  # every turn asks the model equally often
    record_figure(
        row="A6",
        promise="the wall clock jumps by minutes or an hour: no effect on turns and leases",
        figure=f"{jumps} jumps of ±5 min and ±1 h: {len(chat.delivered)} of {jumps} answered, "
        f"{doubled} doubled, {failed} failed, {stale} leases lost",
    )
    assert (doubled, failed, stale, again) == (0, 0, 0, 0)
