"""The whole bot on a Redis Cluster of three nodes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.stores.audit import Auditor
from adapters.stores.errors import StoreRefused
from bot.stores import open_stores
from tests.bot.test_bot import Chat, bot_with, message, settings_in, until
from tests.redis_servers import redis_nodes


async def test_questions_are_answered_and_the_auditor_finds_all_nodes_clean(
    tmp_path: Path,
) -> None:
    chat = Chat()
    async with redis_nodes(tmp_path / "cluster") as nodes:
        given = {"redis.url": nodes[1].url, "redis.cluster": True}
        async with bot_with(chat, settings_in(tmp_path, **given)) as (bot, stop):
            running = asyncio.create_task(bot.run(stop))
            for number in range(6):
                await bot.inbox.accept(message("What is 6*7?", thread=f"t{number}"))
            await until(lambda: len(chat.delivered) == 6)
            await bot.inbox.accept(message("And 7*7?", thread="t0", number=2))
            await until(lambda: len(chat.delivered) == 7)
            stop.set()
            await running
            stores = bot.stores
            auditor = Auditor(stores.redis, stores.batcher, stores.keys, lease_ms=1000)
            report = await auditor.audit(pause_s=0)

    assert all("42" in " ".join(chat.delivered[f"t{number}-1"]) for number in range(6))
    assert not report.violations
    assert report.counts["memory"] == 6


async def test_a_node_of_a_cluster_is_refused_where_no_cluster_was_said(tmp_path: Path) -> None:
    async with redis_nodes(tmp_path / "cluster", nodes=1) as [node]:
        with pytest.raises(StoreRefused, match=r"redis\.cluster = true"):
            async with open_stores(settings_in(tmp_path, **{"redis.url": node.url})):
                pass
