"""From the platform's socket into the ledger: our whole path beside the SDK with an empty handler.

Mentions of many people in many channels, as fast as the fake platform sends them to a process of
its own; what is counted is that process' CPU time, so that the fake's own does not matter.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from adapters.stores.embedded import find_server
from benchmarks.report import Table
from bot.testing.conversation import OnDiscord, OnSlack
from bot.testing.discord import DiscordTwin
from bot.testing.slack import SlackTwin
from tests.conftest import running_redis, wait_for_redis

EVENTS = 1_500
WARM = 100
ROUNDS = 3
CHANNELS = 50
SIDE_WITHIN_S = 120.0

Say = Callable[[int], Awaitable[None]]


@dataclass
class Side:
    """One listening process."""

    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, side: str, settings: Mapping[str, Any]) -> Side:
        pipe = asyncio.subprocess.PIPE
        order = json.dumps({"side": side, "settings": dict(settings)})
        command = [sys.executable, "-m", "benchmarks.intake_worker", order]
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))

    async def look(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"?\n")
        return dict(json.loads(await self.process.stdout.readline()))

    async def took(self, say: Say, events: int) -> float:
        """CPU seconds of the process for so many events."""
        before = await self.look()
        for number in range(events):
            await say(number)
        async with asyncio.timeout(SIDE_WITHIN_S):
            while (after := await self.look())["events"] < before["events"] + events:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return float(after["cpu_s"] - before["cpu_s"])

    async def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.process.wait()


async def _rate(
    side: str, settings: Mapping[str, Any], connected: Callable[[], Awaitable[None]], say: Say
) -> float:
    """Events in a second of the process' CPU time; the median of the rounds."""
    worker = await Side.start(side, settings)
    try:
        await connected()
        await worker.took(say, WARM)
        return median([EVENTS / await worker.took(say, EVENTS) for _ in range(ROUNDS)])
    finally:
        await worker.end()


async def measure() -> list[Table]:
    table = Table(
        "Event intake, events a CPU second",
        ("platform", "the SDK, an empty handler", "firstline, stored in Redis", "share"),
    )
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fl-")))
        redis_url = stack.enter_context(running_redis(find_server(), folder))
        await wait_for_redis(redis_url)
        store = {"redis.url": redis_url, "redis.allow_volatile": True}
        for platform in (_slack, _discord):
            rates = [await platform(side, store) for side in (False, True)]
            name = platform.__name__.strip("_")
            table.add(name, *(f"{each:,.0f}" for each in rates), f"{rates[1] / rates[0]:.0%}")
    return [table]


async def _slack(is_product: bool, store: Mapping[str, Any]) -> float:
    async with SlackTwin() as slack:
        person = OnSlack(slack)
        channels = [slack.add_channel(f"C9{n:03d}") for n in range(CHANNELS)]
        settings = {**person.settings, **store, "slack.allow.channels": ["*"]}

        async def say(number: int) -> None:
            channel = channels[number % CHANNELS]
            await slack.say(person.user, channel, f"question {number}", mention_bot=True)
            await asyncio.sleep(0)  # the socket's turn

        side = "product" if is_product else "slack"
        return await _rate(side, settings, person.connected, say)


async def _discord(is_product: bool, store: Mapping[str, Any]) -> float:
    async with DiscordTwin() as discord:
        person = OnDiscord(discord)
        channels = [discord.world.add_channel("text", f"c{n}") for n in range(CHANNELS)]
        settings = {**person.settings, **store, "discord.allow.channels": ["*"]}

        async def say(number: int) -> None:
            channel = channels[number % CHANNELS]
            await discord.say(discord.alice, channel, f"question {number}", mention_bot=True)

        side = "product" if is_product else "discord"
        return await _rate(side, settings, person.connected, say)
