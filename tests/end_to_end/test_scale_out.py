"""An intake and three workers as processes of their own, on one Redis."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
from redis import asyncio as redis_asyncio

from adapters.models.scripted import Reply, Say, Step, demo_policy
from adapters.models.scripted_server import ScriptedServer
from adapters.stores.embedded import find_server
from agents.ports import ModelRequest
from bot.testing.discord import DiscordTwin
from bot.testing.slack import SlackTwin
from tests.conftest import running_redis, wait_for_redis
from tests.end_to_end.bot_process import BotProcess, bot_process
from tests.end_to_end.on_slack import new_thread, settings_of
from tests.end_to_end.test_platforms import OnDiscord, models

LEASE_S = 2.0  # of the settings in `on_slack`
RECOVERY_S = 3.0  # beyond the lease
DRAIN_S = 25.0
SLOW = "Take your time"


class SlowAtFirst:
    """A model that takes `seconds` for the first slow question and is quick from then on."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.asked = seconds, 0

    def __call__(self, request: ModelRequest) -> Reply:
        reply = demo_policy(request)
        if SLOW not in request.messages[-1].text or not isinstance(reply, Say | Step):
            return reply
        self.asked += 1
        return Say(reply.text, 0, self.seconds) if self.asked == 1 else reply


class Fleet:
    """What runs: one Redis, one intake, some workers."""

    def __init__(self, intake: BotProcess, workers: Sequence[BotProcess], redis_url: str) -> None:
        self.intake, self.workers, self.redis_url = intake, workers, redis_url

    def worker_that_asks(self, model_url: str) -> BotProcess:
        """The worker with a connection to the model that waits for an answer."""
        port = int(model_url.rpartition(":")[2].partition("/")[0])
        found = [each for each in self.workers if _talks_to(each, port)]
        assert len(found) == 1, "one worker runs the turn"
        return found[0]

    async def pending(self) -> list[str]:
        """Who holds a ring, as docs/scaling.md has the reader ask; a name ends in a process id."""
        async with redis_asyncio.Redis.from_url(self.redis_url) as redis:
            bells = [key async for key in redis.scan_iter("fl:*bell:*")]
            found = [await redis.xpending(bell, "workers") for bell in bells]
        return [each["name"].decode() for bell in found for each in bell["consumers"]]

    async def leases(self) -> list[bytes]:
        async with redis_asyncio.Redis.from_url(self.redis_url) as redis:
            return [key async for key in redis.scan_iter("*:lease")]


def _talks_to(process: BotProcess, port: int) -> bool:
    connections = psutil.Process(process.pid).net_connections("tcp")
    return any(each.raddr and each.raddr.port == port for each in connections)


@asynccontextmanager
async def fleet(
    folder: Path, settings: str, tokens: Mapping[str, str], *, workers: int = 3
) -> AsyncIterator[Fleet]:
    # The sweep is quick beside the lease, as it is by default.
    settings = settings.replace("sweep_s = 0.5", "sweep_s = 0.2")
    async with AsyncExitStack() as stack:
        short = stack.enter_context(tempfile.TemporaryDirectory(prefix="fl-"))
        url = stack.enter_context(running_redis(find_server(), Path(short)))
        await wait_for_redis(url)
        environ = {"REDIS_URL": url, **tokens}

        async def process(name: str, role: str) -> BotProcess:
            (folder / name).mkdir()
            # A Redis of 6.2 is what a machine without redis-server has.
            options = ("--role", role, "--allow-volatile")
            return await stack.enter_async_context(
                bot_process(folder / name, settings, environ, options=options)
            )

        names = [f"worker{n}" for n in range(workers)]
        started = [process("intake", "intake"), *(process(name, "worker") for name in names)]
        intake, *others = await asyncio.gather(*started)
        yield Fleet(intake, others, url)


def fleet_on(
    slack: SlackTwin, model_url: str, folder: Path, *, more: str = ""
) -> AbstractAsyncContextManager[Fleet]:
    tokens = {"SLACK_BOT_TOKEN": slack.bot_token, "SLACK_APP_TOKEN": slack.app_token}
    return fleet(folder, settings_of(slack, ("moe", model_url), more=more), tokens)


async def test_the_turn_of_a_killed_worker_is_finished_by_another(tmp_path: Path) -> None:
    model = SlowAtFirst(60)
    async with (
        ScriptedServer(model) as url,
        SlackTwin() as slack,
        fleet_on(slack, url, tmp_path) as processes,
    ):
        thread = await new_thread(slack)
        await thread.say(f"{SLOW}: what is 6*7?")
        await slack.wait_for(lambda: model.asked == 1)
        await slack.wait_for(lambda: thread.replies())  # the first sign of it
        victim = processes.worker_that_asks(url)
        (name,) = await processes.pending()
        assert name.endswith(f"-{victim.pid}")
        await victim.kill()
        killed_at = time.monotonic()
        await thread.reply(1, "42")
        took_s = time.monotonic() - killed_at

        print(f"a killed worker's turn was finished elsewhere {took_s:.1f} s after the kill")
        assert took_s <= LEASE_S + RECOVERY_S
        assert len(thread.replies()) == 1
        await thread.say("Thank you!")
        await thread.reply(2, "Thank you!")


async def test_every_role_tells_its_health_and_stops_in_time_with_no_lease_left(
    tmp_path: Path,
) -> None:
    model = SlowAtFirst(3)
    async with (
        ScriptedServer(model) as url,
        SlackTwin() as slack,
        fleet_on(slack, url, tmp_path) as processes,
    ):
        everybody = [processes.intake, *processes.workers]
        async with aiohttp.ClientSession() as http:
            for process in everybody:
                for page in ("/healthz", "/readyz", "/metrics"):
                    async with http.get(process.url + page) as answer:
                        assert answer.status == 200
                async with http.get(process.url) as answer:
                    assert answer.status == 404, "the page belongs to the role all"
        thread = await new_thread(slack)
        await thread.say(f"{SLOW}: what is 6*7?")
        await slack.wait_for(lambda: model.asked == 1)
        began = time.monotonic()
        codes = await asyncio.gather(*(process.stop() for process in everybody))
        took_s = time.monotonic() - began

        print(f"four processes with a turn that runs: stopped in {took_s:.1f} s")
        assert codes == [0, 0, 0, 0]
        assert took_s <= DRAIN_S
        assert await processes.leases() == []
        assert "42" in thread.replies()[0], "the running turn came to its end first"


async def test_a_process_of_another_role_takes_over_what_a_stopped_one_left(
    tmp_path: Path,
) -> None:
    """A deploy: what was accepted while nobody answered is answered by the next process."""
    async with (
        ScriptedServer() as url,
        SlackTwin() as slack,
        fleet_on(slack, url, tmp_path) as processes,
    ):
        await asyncio.gather(*(worker.stop() for worker in processes.workers))
        thread = await new_thread(slack)
        await thread.say("What is 6*7?")
        await slack.wait_for(lambda: all(e.acked.is_set() for e in slack.socket.delivered))
        assert thread.replies() == []
        await processes.workers[0].start()
        await thread.reply(1, "42")


async def test_an_intake_and_a_worker_serve_discord_too(tmp_path: Path) -> None:
    async with ScriptedServer() as url, DiscordTwin() as discord:
        person = OnDiscord(discord)
        settings = person.settings + models(url)
        async with fleet(tmp_path, settings, person.environ, workers=1):
            await person.wait_connected()
            await person.say("What is 6*7?")
            assert "42" in await person.wait_for_reply(1, "42")
            assert len(discord.gateway.sessions) == 1, "a worker opens no session"
