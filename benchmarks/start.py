"""Start to ready, and memory, of the real process with both platforms and no local engine."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil

from benchmarks.report import Table
from benchmarks.turn import model_server
from bot.testing.discord import DiscordTwin
from bot.testing.slack import SlackTwin
from tests.end_to_end.bot_process import bot_process
from tests.end_to_end.test_platforms import OnDiscord, OnSlack

REPEATS = 3
IDLE_S = 5.0


async def measure() -> list[Table]:
    ready_s: list[float] = []
    memory_mb: list[float] = []
    for _ in range(REPEATS):
        ready, memory = await _once()
        ready_s.append(ready)
        memory_mb.append(memory)
    table = Table(
        "`firstline run` with Slack and Discord, no local engine", ("measure", "target", "here")
    )
    table.add("start to ready, both platforms connected", "under 2 s", f"{median(ready_s):.2f} s")
    table.add("memory of the idle process", "under 150 MB", f"{median(memory_mb):.0f} MB")
    return [table]


async def _once() -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="fl-start-") as folder:
        async with SlackTwin() as slack, DiscordTwin() as discord, model_server() as url:
            on_slack, on_discord = OnSlack(slack), OnDiscord(discord)
            route = f'[models.routes.m]\nbackend = "openai_api"\nbase_url = "{url}"\nmodel = "m"\n'
            roles = '[roles]\nplanner = ["m"]\nvision = ["m"]\n'
            settings = on_slack.settings + on_discord.settings + route + roles
            environ = on_slack.environ | on_discord.environ
            began = time.perf_counter()
            async with bot_process(Path(folder), settings, environ) as bot:
                await on_slack.wait_connected()
                await on_discord.wait_connected()
                ready = time.perf_counter() - began
                await asyncio.sleep(IDLE_S)
                assert bot.pid is not None
                memory = psutil.Process(bot.pid).memory_info().rss / 1e6
    return ready, memory
