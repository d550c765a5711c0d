"""How soon Slack's events are acknowledged over HTTP while Redis is slow (reliability row C7).

`python -m benchmarks.slack_ack --seconds 600` tells 50 signed events a second to the real
endpoint, inbox and ledger through a proxy that adds 200 ms to every round trip to Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from adapters.chat.types import usual
from bot.app import open_bot
from bot.public_http import serve_public
from bot.settings import load_settings
from bot.slack_wiring import slack_adapter
from bot.stores import open_stores
from bot.testing.slack import SlackTwin
from bot.testing.slack.http import signed
from tests.drills.redis_proxy import redis_proxy
from tests.redis_servers import redis_server

_SECRET = "benchmark-signing-secret"  # noqa: S105
_CHANNELS = 200


@dataclass(slots=True)
class Acks:
    """What Slack got for its events, and how soon."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def at(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    def __str__(self) -> str:
        accepted = self.statuses[200]
        return (
            f"{accepted:,} accepted of {self.statuses.total():,}: "
            f"p50 {self.at(0.5) * 1000:.0f} ms, "
            f"p99 {self.at(0.99) * 1000:.0f} ms, most {max(self.seconds) * 1000:.0f} ms"
        )


async def measure(*, seconds: float, per_s: float, delay_s: float, folder: Path) -> Acks:
    """Tell `per_s` events a second for `seconds`; every trip to Redis takes `delay_s` more."""
    async with (
        SlackTwin() as slack,
        redis_server(folder) as redis,
        redis_proxy(redis.port) as proxy,
    ):
        slack.web.limits.clear()
        for number in range(_CHANNELS):
            slack.add_channel(f"C{number}")
        slack.add_user("U1")
        settings = load_settings(
            environ={},
            overrides={
                "redis.url": proxy.url,
                "redis.prefix": f"b{secrets.token_hex(4)}",
                "slack.bot_token": slack.bot_token,
                "slack.signing_secret": _SECRET,
                "slack.api_url": slack.api_url,
                "slack.allow.workspaces": ["*"],
                "slack.allow.channels": ["*"],
                "slack.allow.users": ["*"],
                "web.enabled": False,
                "data_dir": folder,
            },
        )
        async with open_stores(settings) as stores:
            adapter = slack_adapter(settings.slack, stores, usual)
            async with open_bot(settings, stores, [adapter], role="intake") as bot:
                stop, door = asyncio.Event(), adapter.door
                if door is None:
                    raise RuntimeError("told over HTTP, or not at all")
                async with (
                    serve_public("127.0.0.1", 0, door, setting="slack.http_port") as port,
                    asyncio.TaskGroup() as group,
                ):
                    group.create_task(bot.run(stop), name="bot")
                    await slack.wait_for(lambda: adapter.connected)
                    url = f"http://127.0.0.1:{port}/slack/events"
                    await _tell(url, slack, Acks(), count=2 * _CHANNELS, per_s=per_s)
                    proxy.delay_s = delay_s / 2  # once in each direction
                    acks = Acks()
                    await _tell(url, slack, acks, count=int(seconds * per_s), per_s=per_s)
                    proxy.delay_s = 0.0
                    stop.set()
                    return acks


async def _tell(url: str, slack: SlackTwin, acks: Acks, *, count: int, per_s: float) -> None:
    """Evenly in time, whether or not the earlier ones were answered."""
    begun = time.monotonic()
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(max(begun + number / per_s - time.monotonic(), 0))
            group.create_task(_tell_one(session, url, slack, number, acks), name="event")


async def _tell_one(
    session: aiohttp.ClientSession, url: str, slack: SlackTwin, number: int, acks: Acks
) -> None:
    world = slack.world
    event = {
        "type": "app_mention",
        "channel": f"C{number % _CHANNELS}",
        "user": "U1",
        "text": f"<@{world.bot_user_id}> question {number}",
        "ts": world.new_ts(),
    }
    body = json.dumps({"type": "event_callback", "team_id": world.team_id, "event": event}).encode()
    begun = time.monotonic()
    async with session.post(url, data=body, headers=signed(_SECRET, body)) as answer:
        acks.statuses[answer.status] += 1
    acks.seconds.append(time.monotonic() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--per-s", type=float, default=50.0)
    parser.add_argument("--delay-ms", type=float, default=200.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fl-") as folder:
        acks = asyncio.run(
            measure(
                seconds=asked.seconds,
                per_s=asked.per_s,
                delay_s=asked.delay_ms / 1000,
                folder=Path(folder),
            )
        )
    print(acks)


if __name__ == "__main__":
    main()
