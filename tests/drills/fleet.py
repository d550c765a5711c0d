"""Several bots on one real Redis, one model and two platforms, and what the auditor says."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis.asyncio import Redis

from adapters.models.scripted import DEFAULT_CAPABILITIES, Reply, Say, Step, demo_policy
from adapters.models.scripted_server import HttpPolicy, ScriptedServer
from adapters.stores.audit import Auditor, Report
from adapters.stores.batching import Batcher
from adapters.stores.connection import connect, server_version
from adapters.stores.keys import Keys
from agents.ports import ModelRequest
from bot.testing.discord import DiscordTwin
from bot.testing.slack import SlackTwin
from tests.conftest import running_redis, wait_for_redis
from tests.drills.places import OnDiscord, OnSlack, Place, Tally, connected, settle
from tests.drills.processes import DrillBot, ForkServer, fork_server
from tools.identity import tenant_of

LEASE_S = 2.0
SETTLE_S = 60.0


def in_a_second(request: ModelRequest) -> Reply:
    """The demo script at a pace that leaves time to be killed in the middle."""
    reply = demo_policy(request)
    return replace(reply, chunk=12, delay_s=0.05) if isinstance(reply, Say | Step) else reply


class Fleet:
    """`bots` share the work of `places`; made by `fleet`."""

    def __init__(
        self, bots: Sequence[DrillBot], places: Sequence[Place], redis_url: str, prefix: str
    ) -> None:
        self.bots, self.places = list(bots), list(places)
        self.redis_url, self.prefix = redis_url, prefix

    async def start(self, *, rules: Sequence[dict[str, Any]] = ()) -> None:
        """Start every bot and wait until all listen."""
        for bot in self.bots:
            bot.rules = list(rules)
        await asyncio.gather(*(bot.start() for bot in self.bots))
        try:
            await connected(self.places, len(self.bots))
        except TimeoutError as error:
            heard = {place.name: place.sessions() for place in self.places}
            logs = "\n".join(f"{bot.log.name}:\n{bot.end_of_log()}" for bot in self.bots)
            raise AssertionError(f"not all bots listen: {heard}\n{logs}") from error

    @asynccontextmanager
    async def kept_alive(self) -> AsyncIterator[Counter[str]]:
        """What a service manager does: a bot that dies is started again; counts the deaths."""
        deaths = Counter[str]()

        async def keep(bot: DrillBot) -> None:
            while True:
                await bot.died(3600)
                deaths[bot.log.stem] += 1
                await bot.start()

        keeping = [
            asyncio.create_task(keep(bot), name=f"keep {n}") for n, bot in enumerate(self.bots)
        ]
        try:
            yield deaths
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.wait(keeping)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[tuple[Batcher, Keys]]:
        """The bots' own store, for a look from outside."""
        async with self._from_outside() as (_, batcher):
            yield batcher, Keys(self.prefix)

    async def settle(self, *, within_s: float = SETTLE_S) -> Tally:
        """Wait until every question is answered or told and every turn is closed; count.

        What is lost, or still open after `within_s`, shows in the tally and in the audit.
        """
        await settle(self.places, within_s=within_s)
        async with self.store() as (batcher, keys):
            dues = [keys.due(tenant_of(*place.tenant)) for place in self.places]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    while sum([await batcher.command("ZCARD", due) for due in dues]):  # noqa: ASYNC110
                        await asyncio.sleep(0.1)
        return Tally.of(*self.places)

    async def stop(self) -> list[int]:
        """SIGTERM to all; the exit codes of those that ran."""
        codes = await asyncio.gather(*(bot.end() for bot in self.bots))
        return [code for code in codes if code is not None]

    async def audit(self) -> Report:
        """The auditor's report over the store as it is."""
        async with self._from_outside() as (redis, batcher):
            auditor = Auditor(redis, batcher, Keys(self.prefix), lease_ms=int(LEASE_S * 1000))
            return await auditor.audit(pause_s=LEASE_S + 1)

    @asynccontextmanager
    async def _from_outside(self) -> AsyncIterator[tuple[Redis, Batcher]]:
        """More patient than a bot: a drill's own process is busy playing the platforms."""
        redis = connect(self.redis_url, timeout_s=30)
        batcher = Batcher(redis, version=await server_version(redis))
        try:
            yield redis, batcher
        finally:
            await batcher.aclose()
            await redis.aclose()


@asynccontextmanager
async def real_redis() -> AsyncIterator[str]:
    """A redis-server with an append-only file, as operators run it."""
    from adapters.stores.embedded import find_server

    with (
        TemporaryDirectory(prefix="fl-") as folder,  # a short path: it is a socket's
        running_redis(find_server(), Path(folder)) as url,
    ):
        await wait_for_redis(url)
        yield url


@asynccontextmanager
async def two_platforms(*, channels: int = 40) -> AsyncIterator[list[Place]]:
    async with SlackTwin() as slack, DiscordTwin() as discord:
        yield [OnSlack(slack, channels=channels), OnDiscord(discord, channels=channels)]


@asynccontextmanager
async def fleet(
    folder: Path,
    *,
    bots: int,
    platforms: Sequence[str] = ("slack", "discord"),
    policy: HttpPolicy = in_a_second,
    settings: str = "",
    channels: int = 40,
    server: ForkServer | None = None,
    redis_url: str | None = None,
    lease_s: float = LEASE_S,
    max_deaths: int = 20,
    context_tokens: int = 8192,
    agent: bool = False,
) -> AsyncIterator[Fleet]:
    """Everything a drill needs; what is given is shared with other fleets."""
    async with AsyncExitStack() as stack:
        if server is None:
            server = await stack.enter_async_context(fork_server())
        if redis_url is None:
            redis_url = await stack.enter_async_context(real_redis())
        able = replace(DEFAULT_CAPABILITIES, context_tokens=context_tokens)
        model = await stack.enter_async_context(ScriptedServer(policy, capabilities=able))
        places: list[Place] = []
        if "slack" in platforms:
            slack = await stack.enter_async_context(SlackTwin())
            places.append(OnSlack(slack, channels=channels, agent=agent))
        if "discord" in platforms:
            discord = await stack.enter_async_context(DiscordTwin())
            places.append(OnDiscord(discord, channels=channels))
        prefix = f"drill{secrets.token_hex(4)}"
        text = "".join(place.settings for place in places)
        _write(
            folder, text + _settings(model, prefix, lease_s, max_deaths, context_tokens) + settings
        )
        environ: dict[str, str] = {"REDIS_URL": redis_url}
        for place in places:
            environ |= place.environ
        team = [DrillBot(server, folder, environ, name=f"bot{n}") for n in range(bots)]
        made = Fleet(team, places, redis_url, prefix)
        try:
            yield made
        finally:
            await asyncio.gather(*(bot.kill() for bot in team))


def _write(folder: Path, settings: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "firstline.toml").write_text(settings)


def _settings(
    model_url: str, prefix: str, lease_s: float, max_deaths: int, context_tokens: int
) -> str:
    # Kills come faster than leases expire, so an early turn meets more of them than any limit
    # of deaths allows; then the person is told, which is not a loss (reliability, section 2).
    return f"""
[redis]
prefix = "{prefix}"
[web]
port = 0
[models.routes.moe]
backend = "openai_api"
base_url = "{model_url}"
model = "scripted"
context_tokens = {context_tokens}
[roles]
planner = ["moe"]
[turns]
lease_s = {lease_s}
renew_s = {lease_s / 4}
sweep_s = 0.5
max_deaths = {max_deaths}
"""
