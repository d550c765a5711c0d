"""A worker process of the scale-out benchmark: the product's own role, a platform that costs
nothing, and a line on stdout for each turn that is seen and for each that is delivered."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from dataclasses import dataclass

from adapters.chat.types import NO_OFFERS, MayShow, Message, NotOurs, Offers, always
from benchmarks.ours import Chat, ChatReply
from bot.app import open_bot
from bot.logs import configure_logs
from bot.settings import Settings, load_settings
from bot.stores import open_stores


@dataclass
class TellingChat(Chat):
    def reply(self, message: Message, *, may_show: MayShow = always) -> TellingReply:
        return TellingReply(self, message.event_id, may_show)


class TellingReply(ChatReply):
    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        tell("seen", self.event_id)
        return self.event_id

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
            raise NotOurs(self.chat.name)
        tell("done", self.event_id)
        return self.event_id


def tell(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def settings_for(
    redis_url: str, model_url: str, *, lanes: int = 64, lease_s: float = 30
) -> Settings:
    route = {"backend": "openai_api", "base_url": model_url, "model": "m", "context_tokens": 32768}
    return load_settings(
        environ={},
        overrides={
            "redis.url": redis_url,
            "redis.allow_volatile": True,  # only so that the bundled server of 6.2 will do
            "models.routes.m": route,
            "roles.planner": ["m"],
            "turns.workers": lanes,
            "turns.lease_s": lease_s,
            "turns.renew_s": lease_s / 3,
        },
    )


async def main(settings: Settings) -> None:
    configure_logs(level="warning", form="json")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with (
        open_stores(settings) as stores,
        open_bot(settings, stores, [TellingChat()], role="worker") as bot,
    ):
        tell("ready")
        await bot.run(stop)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("redis_url")
    parser.add_argument("model_url")
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--lease-s", type=float, default=30)
    given = parser.parse_args()
    chosen = settings_for(
        given.redis_url, given.model_url, lanes=given.lanes, lease_s=given.lease_s
    )
    asyncio.run(main(chosen))
