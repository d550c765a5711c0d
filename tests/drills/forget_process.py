"""A worker that an obedient model makes tell everything, in a process that may be killed.

Each final text goes to stdout as a line of JSON: tenant, event id, text.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import sys
from pathlib import Path

from adapters.chat.types import NO_OFFERS, MayShow, Message, NotOurs, Offers, always
from adapters.models.scripted import Reply, ScriptedBackend, Step
from agents.ports import ModelBackend, ModelRequest
from agents.routing import Route, Router
from bot.app import open_bot
from bot.logs import configure_logs
from bot.settings import Settings
from bot.stores import open_stores
from tests.drills.obedient import (
    Platform,
    PlatformReply,
    open_settings,
    tell_everything,
)


def forgetful_settings(folder: Path, redis_url: str, prefix: str) -> Settings:
    """What the test and its workers share."""
    return open_settings(
        folder,
        ["1000"],
        **{
            "redis.url": redis_url,
            "redis.prefix": prefix,
            "redis.allow_volatile": True,  # only so that the bundled server of 6.2 will do
            "turns.lease_s": 1,
            "turns.renew_s": 0.3,
            "turns.max_deaths": 20,
        },
    )


class TellingPlatform(Platform):
    def reply(self, message: Message, *, may_show: MayShow = always) -> TellingReply:
        return TellingReply(self, (message.conversation.tenant, message.event_id), may_show)


class TellingReply(PlatformReply):
    async def deliver(
        self,
        index: int,
        text: str,
        *,
        token: str,
        tried_s_ago: float | None = None,
        offers: Offers = NO_OFFERS,
    ) -> str:
        if not self.may_show():
            raise NotOurs(self.platform.name)
        sys.stdout.write(json.dumps([*self.place, text]) + "\n")
        sys.stdout.flush()
        return self.place[1]


def slow_model(dice: random.Random) -> ModelBackend:
    """Takes long enough that a turn can be met at any point."""

    def policy(request: ModelRequest) -> Reply:
        reply = tell_everything(request)
        assert isinstance(reply, Step)
        return dataclasses.replace(reply, chunk=16, delay_s=dice.uniform(0, 0.03))

    return ScriptedBackend("slow", policy)


async def main(folder: str, redis_url: str, prefix: str) -> None:
    configure_logs(level="error", form="json")
    settings, model = (
        forgetful_settings(Path(folder), redis_url, prefix),
        slow_model(random.Random()),
    )

    async def load() -> ModelBackend:
        return model

    route = Route("slow", "scripted", "slow", "local", load)
    router = Router({"planner": [route], "small": [route]})
    async with (
        open_stores(settings) as stores,
        open_bot(settings, stores, [TellingPlatform("slack")], router=router, role="worker") as bot,
    ):
        print("ready", flush=True)
        await bot.run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
