from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("langgraph", reason="needs the extra langchain")

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, empty_checkpoint
from redis import asyncio as redis_asyncio

from adapters.langchain.checkpoints import RedisSaver
from adapters.stores.errors import StoreUnavailable


@dataclass
class Own:
    n: int


@pytest.fixture
async def saver(redis_url: str, prefix: str) -> AsyncIterator[RedisSaver]:
    saver = RedisSaver(redis_url, prefix=prefix)
    yield saver
    await saver.aclose()


def at(thread: str, checkpoint_id: str | None = None, namespace: str = "") -> Any:
    where = {"thread_id": thread, "checkpoint_ns": namespace}
    return {"configurable": where | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}


def checkpoint(checkpoint_id: str, **values: Any) -> Checkpoint:
    versions = dict.fromkeys(values, 1)
    return {
        **empty_checkpoint(),
        "id": checkpoint_id,
        "channel_values": values,
        "channel_versions": versions,  # type: ignore[typeddict-item]
    }


async def test_the_saver_passes_langgraphs_own_conformance_tests(
    redis_server: str, prefix: str
) -> None:
    conformance = pytest.importorskip("langgraph.checkpoint.conformance")

    @conformance.checkpointer_test(name="RedisSaver")  # type: ignore[untyped-decorator]
    async def made() -> AsyncGenerator[BaseCheckpointSaver[int], None]:
        saver = RedisSaver(redis_server, prefix=prefix)
        yield saver
        await saver.aclose()

    report = await conformance.validate(made)

    failures = {name: result.failures for name, result in report.results.items()}
    assert failures == {name: [] for name in failures}
    assert report.passed_all()
    assert sum(result.tests_passed for result in report.results.values()) >= 70


async def test_the_blocking_forms_read_what_the_async_forms_wrote(saver: RedisSaver) -> None:
    first = await saver.aput(at("t"), checkpoint("1", n=1), {"step": 1}, {})
    second = saver.put(first, checkpoint("2", n=2), {"step": 2}, {})
    saver.put_writes(second, [("n", 3)], "task")

    assert saver.get_tuple(at("t")) == await saver.aget_tuple(at("t"))
    assert saver.get_tuple(at("t", "1")) == await saver.aget_tuple(first)
    assert list(saver.list(at("t"))) == [each async for each in saver.alist(at("t"))]
    assert [each.metadata["step"] for each in saver.list(None, limit=1)] == [2]
    saver.copy_thread("t", "u")
    saver.prune(["u"])
    saver.delete_thread("t")
    assert [each.config for each in saver.list(None)] == [at("u", "2")]
    saver.prune(["u"], strategy="delete")
    assert list(saver.list(None)) == []


async def test_messages_and_common_values_come_back_as_they_were(saver: RedisSaver) -> None:
    call = {"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
    values = {
        "messages": [HumanMessage("12×31?\n\0"), AIMessage("", tool_calls=[call])],
        "when": datetime(2026, 11, 23, tzinfo=UTC),
        "price": Decimal("1.10"),
        "raw": b"\n\x00\xff",
        "none": None,
    }

    config = await saver.aput(at("t"), checkpoint("1", **values), {}, {})

    found = await saver.aget_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"] == values


async def test_a_stored_type_that_is_not_on_the_list_is_never_built(saver: RedisSaver) -> None:
    await saver.aput(at("t"), checkpoint("1", own=Own(1)), {}, {})

    found = await saver.aget_tuple(at("t"))

    assert found is not None
    assert found.checkpoint["channel_values"] == {"own": {"n": 1}}


async def test_a_pickled_record_is_refused(saver: RedisSaver, redis_url: str, prefix: str) -> None:
    await saver.aput(at("t"), checkpoint("1"), {}, {})
    key = f"{prefix}:v1:langgraph:1:t:points:0:"
    async with redis_asyncio.Redis.from_url(redis_url) as redis:
        record = await redis.hget(key, "1")
        assert isinstance(record, bytes)
        await redis.hset(key, "1", record.replace(b'"msgpack"', b'"pickle"'))

    with pytest.raises(NotImplementedError, match="pickle"):
        await saver.aget_tuple(at("t"))


async def test_ids_that_imitate_other_keys_stay_apart(saver: RedisSaver) -> None:
    await saver.aput(at("a", namespace="b:1:c"), checkpoint("1", n=1), {}, {})
    await saver.aput(at("a:points:1:b"), checkpoint("1", n=2), {}, {})
    await saver.aput_writes(at("a", "1", "b:1:c"), [("n", 1)], "task")
    await saver.aput_writes(at("a", "11", "b:1:c"), [("n", 2)], "task")

    found = await saver.aget_tuple(at("a", "1", "b:1:c"))

    assert found is not None
    assert found.checkpoint["channel_values"] == {"n": 1}
    assert found.pending_writes == [("task", "n", 1)]
    assert await saver.aget_tuple(at("a")) is None


async def test_writes_come_back_in_the_order_the_tasks_were_applied(saver: RedisSaver) -> None:
    config = await saver.aput(at("t"), checkpoint("1"), {}, {})
    await saver.aput_writes(config, [("n", value) for value in range(12)], "a", "~2")
    await saver.aput_writes(config, [("n", 100)], "z", "~1")

    found = await saver.aget_tuple(config)

    assert found is not None
    assert found.pending_writes is not None
    assert [value for _, _, value in found.pending_writes] == [100, *range(12)]


async def test_a_thread_goes_as_a_whole_when_its_time_is_over(redis_url: str, prefix: str) -> None:
    saver = RedisSaver(redis_url, prefix=prefix, ttl_s=100)
    config = await saver.aput(at("t"), checkpoint("1"), {}, {})
    await saver.aput_writes(config, [("n", 1)], "task")

    async with redis_asyncio.Redis.from_url(redis_url) as redis:
        keys = [key async for key in redis.scan_iter(f"{prefix}:*:1:t:*")]
        left = {await redis.ttl(key) for key in keys}
        assert len(keys) == 5
        assert left <= {99, 100}
        await redis.delete(*keys)

    assert [each async for each in saver.alist(None)] == []
    await saver.aclose()


async def test_pruning_leaves_a_thread_with_delta_channels_whole(saver: RedisSaver) -> None:
    for number in ("1", "2"):
        metadata: Any = {"counters_since_delta_snapshot": {"messages": [1, 1]}}
        await saver.aput(at("t"), checkpoint(number), metadata, {})

    await saver.aprune(["t"])

    assert len([each async for each in saver.alist(at("t"))]) == 2
    with pytest.raises(ValueError, match="keep_latest or delete"):
        await saver.aprune(["t"], strategy="newest")


async def test_a_redis_that_does_not_answer_is_named(tmp_path: Any) -> None:
    saver = RedisSaver(f"unix://{tmp_path}/none.sock")

    with pytest.raises(StoreUnavailable, match="ConnectionError"):
        await saver.aget_tuple(at("t"))
    with pytest.raises(StoreUnavailable, match="ConnectionError"):
        saver.get_tuple(at("t"))
    await saver.aclose()
