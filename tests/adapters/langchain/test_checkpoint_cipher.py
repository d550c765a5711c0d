from __future__ import annotations

import secrets
from typing import Any

import pytest

pytest.importorskip("langgraph", reason="needs the extra langchain")
pytest.importorskip("cryptography", reason="needs the extra encryption")

from langgraph.checkpoint.base import empty_checkpoint
from redis import asyncio as redis_asyncio

from adapters.langchain.checkpoints import RedisSaver
from adapters.stores.errors import StoreDamaged, StoreRefused

CANARY = "canary-4711"
WHERE: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
KEY, OTHER = secrets.token_hex(32), secrets.token_hex(32)


async def kept(saver: RedisSaver) -> Any:
    """One checkpoint with one write, both with a word to look for."""
    point = {**empty_checkpoint(), "id": "1", "channel_values": {"said": CANARY}}
    config = await saver.aput(WHERE, point, {"source": "input"}, {})  # type: ignore[arg-type]
    await saver.aput_writes(config, [("said", CANARY)], "task")
    return config


async def lying(url: str, prefix: str) -> bytes:
    client = redis_asyncio.from_url(url)
    await client.config_set("rdbcompression", "no")
    names = [name async for name in client.scan_iter(match=f"{prefix}*")]
    found = b"".join([await client.dump(name) or b"" for name in names])
    await client.aclose()
    return found


async def test_with_a_key_nothing_said_lies_readable_and_all_reads_back(
    redis_url: str, prefix: str
) -> None:
    saver = RedisSaver(redis_url, prefix=prefix, key=KEY)
    config = await kept(saver)
    found, stored = await saver.aget_tuple(config), await lying(redis_url, prefix)
    await saver.aclose()

    assert found is not None
    assert found.checkpoint["channel_values"] == {"said": CANARY}
    assert found.pending_writes == [("task", "said", CANARY)]
    assert len(stored) > 300
    assert CANARY.encode() not in stored


async def test_a_new_key_reads_what_the_old_one_sealed_and_plain_checkpoints(
    redis_url: str, prefix: str
) -> None:
    plain, old = RedisSaver(redis_url, prefix=prefix), RedisSaver(redis_url, prefix=prefix, key=KEY)
    new = RedisSaver(redis_url, prefix=prefix, key=OTHER, old_keys=[KEY])
    lost = RedisSaver(redis_url, prefix=prefix, key=OTHER)
    await kept(plain)
    from_plain = await new.aget_tuple(WHERE)
    await kept(old)
    from_old = await new.aget_tuple(WHERE)
    with pytest.raises(StoreRefused, match="old_keys"):
        await lost.aget_tuple(WHERE)
    for each in (plain, old, new, lost):
        await each.aclose()

    for found in (from_plain, from_old):
        assert found is not None
        assert found.checkpoint["channel_values"] == {"said": CANARY}


async def test_a_changed_checkpoint_is_not_believed(redis_url: str, prefix: str) -> None:
    saver = RedisSaver(redis_url, prefix=prefix, key=KEY)
    kind, sealed = saver.serde.dumps_typed({"said": CANARY})
    await saver.aclose()

    with pytest.raises(StoreDamaged):
        saver.serde.loads_typed((kind, sealed[:-1] + bytes([sealed[-1] ^ 1])))


def test_a_key_that_is_none_is_refused(redis_url: str) -> None:
    with pytest.raises(StoreRefused, match="64 hex digits"):
        RedisSaver(redis_url, key="secret")
