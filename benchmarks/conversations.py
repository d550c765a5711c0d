"""Many stored conversations on one Redis: memory of each, and the time to claim one.

The records are what the bot would have stored after some turns; they are made by its own
encoders and key builder and written through a pipeline.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from adapters.stores.connection import Redis, connect
from adapters.stores.embedded import find_server
from adapters.stores.ledger import RETENTION_S
from adapters.stores.memory import decode_turns, encode_turn
from agents.turns import Text, Turn
from benchmarks.floor import MESSAGE, QUESTION
from benchmarks.report import Table
from bot.settings import load_settings
from bot.stores import Stores, open_stores
from tests.conftest import running_redis, wait_for_redis
from tools.identity import ConversationKey, tenant_of

STORED = 100_000
MESSAGES = 6
CLAIMED = 500
_BATCH = 1000
_TENANT = tenant_of("slack", "T0BENCH")
_ROLES: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")


async def measure(*, stored: int = STORED, messages: int = MESSAGES) -> list[Table]:
    with (
        tempfile.TemporaryDirectory(prefix="fl-bench-") as folder,
        running_redis(find_server(), Path(folder)) as url,
    ):
        await wait_for_redis(url)
        # Volatile only in that the bundled server of 6.2 will do too.
        overrides = {"redis.url": url, "redis.allow_volatile": True}
        async with open_stores(load_settings(environ={}, overrides=overrides)) as stores:
            # A pipeline of a thousand conversations may take longer than a turn's command.
            redis = connect(url, timeout_s=30)
            before = await _used_bytes(redis)
            began = time.perf_counter()
            text_bytes = await _fill(stores, redis, stored, messages)
            filled_s = time.perf_counter() - began
            each = (await _used_bytes(redis) - before) / stored
            claims_ms = await _claims(stores, stored)
            await redis.aclose()
    table = Table(
        f"{stored:,} stored conversations of {messages} messages of {len(MESSAGE)} characters",
        ("measure", "here"),
    )
    table.add("Redis memory of a conversation", f"{each:,.0f} bytes")
    table.add("of that, what people and the model said", f"{text_bytes:,} bytes")
    table.add("claim one and decode it, p50", f"{_at(claims_ms, 0.5):.2f} ms")
    table.add("claim one and decode it, p95", f"{_at(claims_ms, 0.95):.2f} ms")
    table.add("filling the store", f"{filled_s:.0f} s")
    return [table]


def conversation(number: int) -> ConversationKey:
    return ConversationKey(_TENANT, "public", f"C{number % 100:04d}", f"1700000000.{number:06d}")


async def _fill(stores: Stores, redis: Redis, stored: int, messages: int) -> int:
    """Write the memory of every conversation; returns the bytes of one's texts."""
    text = MESSAGE[:-8]
    for first in range(0, stored, _BATCH):
        async with redis.pipeline(transaction=False) as pipeline:
            for number in range(first, min(first + _BATCH, stored)):
                turns = [
                    Turn(
                        _ROLES[n % 2],
                        (Text(f"{text}{number % 10**8:08d}"),),  # no two alike
                        said_at=1_700_000_000.0 + n,
                        turn_id=f"{number:012x}",
                    )
                    for n in range(messages)
                ]
                key = stores.keys.memory(conversation(number))
                pipeline.rpush(key, *(encode_turn(turn) for turn in turns))
                pipeline.expire(key, RETENTION_S)
            await pipeline.execute()
    return messages * len(MESSAGE)


async def _claims(stores: Stores, stored: int) -> list[float]:
    """Milliseconds from the claim to the decoded window, one conversation after another."""
    dice, took_ms = random.Random(stored), list[float]()
    for number in dice.sample(range(stored), min(CLAIMED, stored)):
        key = conversation(number)
        await stores.ledger.accept(
            key,
            event_id=f"e{number}",
            group="U1",
            record=QUESTION.encode(),
            sent_at=1.0,
            max_waiting=20,
        )
        began = time.perf_counter()
        claim = await stores.ledger.claim(key, owner="bench")
        assert claim is not None
        assert decode_turns(claim.memory)
        took_ms.append(1000 * (time.perf_counter() - began))
    return sorted(took_ms)


def _at(ordered: list[float], share: float) -> float:
    return ordered[int(len(ordered) * share)]


async def _used_bytes(redis: Redis) -> int:
    memory: dict[str, Any] = await redis.info("memory")
    return int(memory["used_memory"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stored", type=int, default=STORED)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    chosen = parser.parse_args()
    for made in asyncio.run(measure(stored=chosen.stored, messages=chosen.messages)):
        print(made.markdown())
