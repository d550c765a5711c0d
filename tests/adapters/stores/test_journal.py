"""The audit log's chain: many append to it, and no change of it stays unseen."""

from __future__ import annotations

import asyncio
import json

import pytest

from adapters.stores.batching import Batcher
from adapters.stores.connection import Redis, connect
from adapters.stores.errors import StoreUnavailable
from adapters.stores.journal import Head, Journal, JournalEntry
from adapters.stores.keys import Keys

T = "slack:T1"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def entry(number: int, at: float = 1_000.0) -> JournalEntry:
    return JournalEntry("calls", at, f"turn{number}", "U1", "here")


async def filled(batcher: Batcher, keys: Keys, *, entries: int = 6) -> Journal:
    journal = Journal(batcher, keys, clock=Clock())
    for number in range(entries):
        await journal.append(T, entry(number))
    return journal


async def kinds(journal: Journal) -> set[str]:
    return {fault.kind for fault in (await journal.verify(T)).faults}


async def test_a_chain_that_nobody_touched_is_whole(batcher: Batcher, keys: Keys) -> None:
    journal = await filled(batcher, keys)
    found = await journal.verify(T)
    assert (found.entries, found.faults, found.since) == (6, (), 1_000.0)
    assert found.head == str(await journal.head(T))
    assert (await journal.verify("slack:T2")).faults == ()


@pytest.mark.parametrize("number", range(1, 7))
async def test_an_entry_that_was_altered_shows(batcher: Batcher, keys: Keys, number: int) -> None:
    """A stream's entry can't be changed in place: it is all written anew."""
    journal, name = await filled(batcher, keys), keys.journal(T)
    entries = await batcher.command("XRANGE", name, "-", "+")
    await batcher.command("DEL", name)
    for n, (entry_id, fields) in enumerate(entries, 1):
        body = fields[1].replace(b"U1", b"U2") if n == number else fields[1]
        await batcher.command("XADD", name, entry_id, "b", body, "h", fields[3])
    assert await kinds(journal) == {"altered"}


@pytest.mark.parametrize("number", range(1, 7))
async def test_an_entry_that_is_gone_shows(batcher: Batcher, keys: Keys, number: int) -> None:
    journal = await filled(batcher, keys)
    await batcher.command("XDEL", keys.journal(T), f"{number}-0")
    assert await kinds(journal) == ({"head"} if number == 6 else {"missing"})


async def test_an_entry_put_in_between_shows(batcher: Batcher, keys: Keys) -> None:
    journal, name = await filled(batcher, keys, entries=2), keys.journal(T)
    entries = await batcher.command("XRANGE", name, "-", "+")
    await batcher.command("DEL", name)
    for entry_id in ("1-0", "1-5", "2-0"):
        fields = entries[int(entry_id[0]) - 1][1]
        await batcher.command("XADD", name, entry_id, "b", fields[1], "h", fields[3])
    assert await kinds(journal) == {"inserted"}


async def test_two_entries_that_changed_places_show(batcher: Batcher, keys: Keys) -> None:
    journal, name = await filled(batcher, keys, entries=3), keys.journal(T)
    entries = await batcher.command("XRANGE", name, "-", "+")
    await batcher.command("DEL", name)
    for n, at in enumerate((1, 0, 2), 1):
        fields = entries[at][1]
        await batcher.command("XADD", name, f"{n}-0", "b", fields[1], "h", fields[3])
    assert await kinds(journal) == {"altered"}


async def test_a_chain_written_anew_is_known_by_a_head_that_was_noted(
    batcher: Batcher, keys: Keys
) -> None:
    journal = await filled(batcher, keys)
    noted = await journal.head(T)
    assert (await journal.verify(T, expected=noted)).faults == ()
    await batcher.command("DEL", keys.journal(T), keys.journal_head(T))
    forged = Journal(batcher, keys)
    for number in range(6):
        await forged.append(T, entry(number + 100))

    assert (await forged.verify(T)).faults == ()
    assert [each.kind for each in (await forged.verify(T, expected=noted)).faults] == ["rewritten"]
    assert str(noted).startswith("6:")


async def test_processes_that_append_at_once_make_one_chain(batcher: Batcher, keys: Keys) -> None:
    writers = [Journal(batcher, keys) for _ in range(8)]

    async def write(writer: Journal, first: int) -> None:
        for number in range(25):
            await writer.append(T, entry(first + number))

    await asyncio.gather(*(write(writer, n * 1000) for n, writer in enumerate(writers)))
    found = await writers[0].verify(T)
    assert (found.entries, found.faults) == (200, ())


async def test_what_is_too_old_goes_and_the_rest_is_still_whole(
    batcher: Batcher, keys: Keys
) -> None:
    clock = Clock()
    journal = Journal(batcher, keys, retention_s=100, clock=clock)
    for number in range(10):
        await journal.append(T, entry(number, at=1_000.0 + number * 20))
    clock.now = 1_190.0
    await journal.trim(T)
    await journal.trim(T)

    found = await journal.verify(T)
    assert (found.entries, found.faults, found.since) == (5, (), 1_100.0)
    await journal.append(T, entry(11, at=1_190.0))
    assert (await journal.verify(T)).faults == ()


async def test_entries_hold_ids_and_hashes_only(batcher: Batcher, keys: Keys) -> None:
    await filled(batcher, keys, entries=1)
    [(_, fields)] = await batcher.command("XRANGE", keys.journal(T), "-", "+")
    told = json.loads(fields[1])
    assert set(told) == {
        *("kind", "at", "turn_id", "who", "where", "asked", "sources", "calls", "outcome")
    }


async def test_a_store_that_is_away_is_told(keys: Keys) -> None:
    redis: Redis = connect("redis://127.0.0.1:1", timeout_s=0.2)
    lost = Batcher(redis, version=(7, 0), timeout_s=0.2)
    with pytest.raises(StoreUnavailable):
        await Journal(lost, keys).append(T, entry(1))
    await lost.aclose()
    await redis.aclose()


def test_a_head_prints_as_it_is_read() -> None:
    assert str(Head(12, "ab")) == "12:ab"
