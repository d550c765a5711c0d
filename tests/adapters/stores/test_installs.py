"""Installations and what happens once, on every kind of Redis."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from adapters.stores.batching import Batcher
from adapters.stores.installs import Installs, Once
from adapters.stores.keys import Keys
from adapters.stores.sealing import MasterKey, open_seal


async def sealed(batcher: Batcher, keys: Keys) -> Installs:
    master = MasterKey(secrets.token_hex(32), where="the test")
    seal = await open_seal(batcher, keys, [master])
    return Installs(batcher, keys, adapter="slack", seal=seal)


async def test_an_installation_is_read_back_and_lies_encrypted(
    batcher: Batcher, keys: Keys
) -> None:
    installs = await sealed(batcher, keys)
    await installs.save("T1", b"xoxb-secret")
    await installs.save("T2", b"xoxb-other")
    lies = await batcher.command("HGET", keys.installs("slack"), "T1")

    assert await installs.load("T1") == b"xoxb-secret"
    assert await installs.owners() == ["T1", "T2"]
    assert b"xoxb" not in lies


async def test_a_record_can_not_stand_for_another_workspaces(batcher: Batcher, keys: Keys) -> None:
    installs = await sealed(batcher, keys)
    await installs.save("T1", b"xoxb-secret")
    name = keys.installs("slack")
    await batcher.command("HSET", name, "T2", await batcher.command("HGET", name, "T1"))

    assert b"xoxb" not in (await installs.load("T2") or b"")


async def test_every_change_is_told_to_other_processes(batcher: Batcher, keys: Keys) -> None:
    installs = await sealed(batcher, keys)
    seen = [await installs.generation()]
    await installs.save("T1", b"one")
    seen.append(await installs.generation())
    await installs.drop("T1")
    seen.append(await installs.generation())

    assert seen == [0, 1, 2]
    assert await installs.load("T1") is None


async def test_without_a_key_no_token_is_kept(batcher: Batcher, keys: Keys) -> None:
    installs = Installs(batcher, keys, adapter="slack")
    with pytest.raises(ValueError, match=r"memory\.key_file"):
        await installs.save("T1", b"xoxb-secret")

    assert await installs.owners() == []


async def test_of_many_that_begin_at_once_one_is_first(batcher: Batcher, keys: Keys) -> None:
    processes = [Once(batcher, keys) for _ in range(20)]
    begun = await asyncio.gather(*(each.begin("n", within_s=5) for each in processes))
    await processes[0].end("n", keep_s=600)
    after = await processes[1].begin("n", within_s=5)
    life_ms = await batcher.command("PTTL", keys.once("n"))

    assert sorted(begun) == ["busy"] * 19 + ["new"]
    assert after == "done"
    assert 590_000 < life_ms <= 600_000


async def test_what_was_given_back_or_is_too_old_begins_anew(batcher: Batcher, keys: Keys) -> None:
    once = Once(batcher, keys)
    await once.begin("given", within_s=5)
    await once.end("given", keep_s=None)
    await once.begin("old", within_s=0.05)
    await asyncio.sleep(0.1)

    assert await once.begin("given", within_s=5) == "new"
    assert await once.begin("old", within_s=5) == "new"


async def test_what_is_taken_is_taken_once(batcher: Batcher, keys: Keys) -> None:
    once = Once(batcher, keys)
    await once.begin("state", within_s=5)
    taken = await asyncio.gather(*(once.take("state") for _ in range(10)))

    assert sorted(taken) == [False] * 9 + [True]
