"""Stores of earlier releases: today's code reads every record and finishes what was begun (A9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from adapters.stores.batching import Batcher
from adapters.stores.blobs import RedisBlobs
from adapters.stores.changes import Changes
from adapters.stores.connection import connect, server_version
from adapters.stores.dead import DeadLetters
from adapters.stores.embedded import embedded_server
from adapters.stores.facts import RedisFacts
from adapters.stores.keys import Keys
from adapters.stores.ledger import Ledger
from adapters.stores.memory import RedisMemory, UnknownFormat, decode_summary, decode_turns
from adapters.stores.sealing import MasterKey, Seal, open_seal
from adapters.stores.threads import RedisThreads
from bot.records import (
    decode_answered,
    decode_ending,
    decode_event,
    decode_last,
    decode_step,
    newer_since,
    turn_id_of,
)
from tests.bot.test_bot import Chat, bot_with, settings_in, until
from tests.bot.test_memory_commands import EVERYONE
from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure
from tests.golden import stored
from tools.identity import ConversationKey
from tools.labels import Integrity, Label

RUNNING = ConversationKey("slack:T1", "dm", "D1")
CLOSED = ConversationKey("slack:T1", "private", "C1", "1700000000.000100")
READERS = Label(Integrity.USER, frozenset({"channel:slack:T1/C1"}))
MASTER = "00" * 31 + "42"
VERSIONS = ["v1"]
TURN = turn_id_of("slack:T1", "C1:2")


@dataclass(frozen=True)
class Store:
    batcher: Batcher
    keys: Keys
    seal: Seal


@asynccontextmanager
async def store_of(version: str, name: str, folder: Path) -> AsyncIterator[Store]:
    """A captured store on a server of its own; sealed records are bound to its prefix."""
    async with embedded_server(folder) as url:
        redis = connect(url)
        batcher, keys = Batcher(redis, version=await server_version(redis)), Keys(name)
        await stored.restore(batcher, f"{name}:v1:", stored.read(version, name))
        masters = [MasterKey(MASTER, where="the test")] if name == "sealed" else []
        yield Store(batcher, keys, await open_seal(batcher, keys, masters))
        await batcher.aclose()
        await redis.aclose()


@pytest.fixture(params=[(v, name) for v in VERSIONS for name in ("plain", "sealed")], ids="-".join)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    version, name = request.param
    async with store_of(version, name, tmp_path) as opened:
        yield opened


async def test_a_turn_that_was_begun_is_claimed_with_all_it_had(store: Store) -> None:
    ledger = Ledger(store.batcher, store.keys, seal=store.seal)
    claim = await ledger.claim(RUNNING, owner="new")
    assert claim is not None
    events = [decode_event(record) for record in claim.events]
    planned, returned = [msgspec.to_builtins(decode_step(record)) for record in claim.steps]
    facts = RedisFacts(store.batcher, store.keys, seal=store.seal)
    known = await facts.read("slack:T1", "U1", claim.facts)

    assert [event.message.text for event in events] == ["what is 6*7?", "and 7*8?"]
    assert events[0].principal.user_id == "U1"
    assert events[0].label.readers == {"user:slack:T1/U1"}
    assert events[0].message.attachments[0].name == "plan.png"
    assert planned["calls"][0]["arguments"] == {"expression": "6*7"}
    assert returned["results"][0]["text"] == "42"
    assert claim.ending is not None
    assert decode_ending(claim.ending).state == "answered"
    assert (claim.outbox, claim.posted) == ({1: b"Truly."}, {0: "r1"})
    assert claim.notes == {"placeholder": b"p1"}
    assert claim.pins == {"planner": "phi"}
    assert decode_turns(claim.memory)[0].text == "question 2"
    assert known.shared
    assert [fact.text for fact in known.facts.values()] == ["I work in Trondheim"]


async def test_what_was_remembered_is_read_with_its_label(store: Store) -> None:
    memory = RedisMemory(store.batcher, store.keys, seal=store.seal)
    known = await memory.uncovered(CLOSED)
    summary = decode_summary(known.recap.record)
    question = known.turns[0]
    assert summary is not None
    assert question is not None
    [image] = question.images
    blobs = RedisBlobs(store.batcher, store.keys, seal=store.seal)
    blob = await blobs.get(CLOSED, image.sha256)

    assert (summary.text, summary.label, summary.route) == (
        "They asked question 1.",
        READERS,
        "small",
    )
    assert (known.first, len(known.turns)) == (4, 4)
    assert (question.text, question.label) == ("question 2", READERS)
    assert [turn.role for turn in known.turns if turn] == ["user", "assistant", "tool", "assistant"]
    assert blob is not None
    assert blob.data == b"\x89PNG pixels"
    assert blob.label.integrity == Integrity.UNTRUSTED


async def test_what_is_kept_of_closed_turns_is_read(store: Store) -> None:
    batcher, keys, seal = store.batcher, store.keys, store.seal
    changes = Changes(batcher, keys, seal=seal)
    answer, last = await changes.answer(CLOSED, TURN), await changes.last(CLOSED)
    [dead] = await DeadLetters(batcher, keys, seal=seal).of("slack:T1")
    threads = RedisThreads(batcher, keys, seal=seal, clock=lambda: 1700000100.0)
    [(thread, title)] = await threads.of("slack:T1")
    heard = await changes.heard("slack:T1", "C1:1")
    assert answer is not None
    assert last is not None

    assert decode_answered(answer).message_ids == ("r2",)
    assert decode_last(last).events[0].message.text == "question 2"
    assert decode_event(dead.letter.events[0]).message.text == "question 3"
    assert (dead.key, dead.letter.deaths) == (CLOSED, 3)
    assert (thread, title.title) == ("t", "Printers")
    assert heard is not None
    assert (heard.key, heard.user_id) == (CLOSED, "U1")


async def test_a_bot_of_today_finishes_the_turn_that_an_earlier_one_began(
    tmp_path: Path, record_figure: RecordFigure
) -> None:
    chat = Chat("slack")
    settings = settings_in(tmp_path, **EVERYONE, **{"redis.prefix": "plain"})
    async with bot_with(chat, settings) as (bot, stop), asyncio.TaskGroup() as group:
        await stored.restore(bot.stores.batcher, "plain:v1:", stored.read("v1", "plain"))
        group.create_task(bot.run(stop))
        await until(lambda: chat.delivered)
        stop.set()

    record_figure(
        row="A9",
        promise="a store of each of the last two formats is read, and what it began is finished",
        figure=f"format 1 (the first): {len(stored.read('v1', 'plain'))} keys, plain and sealed, "
        "every kind of record read with its label; the begun turn's last part sent once",
    )
    assert chat.delivered == {"m2": ["Truly."]}


async def _unknown_memory(store: Store) -> object:
    await store.batcher.command("RPUSH", store.keys.memory(CLOSED), b'9{"of":"tomorrow"}')
    return [turn.text for turn in await _memory(store).turns(CLOSED)][-1]


async def _unknown_recap(store: Store) -> object:
    await store.batcher.command("HSET", store.keys.recap(CLOSED), "record", b"9{}")
    try:
        decode_summary((await _memory(store).uncovered(CLOSED)).recap.record)
    except UnknownFormat:
        return "left alone"
    return "read"


async def _unknown_fact(store: Store) -> object:
    await store.batcher.command("HSET", store.keys.facts("slack:T1", "U1"), "2", b"9{}")
    return len((await RedisFacts(store.batcher, store.keys).of("slack:T1", "U1")).facts)


def _memory(store: Store) -> RedisMemory:
    return RedisMemory(store.batcher, store.keys)


@pytest.mark.parametrize(
    ("damage", "read"),
    [(_unknown_memory, "answer 2"), (_unknown_recap, "left alone"), (_unknown_fact, 1)],
)
async def test_a_record_of_a_newer_version_is_left_as_it_is_and_told(
    tmp_path: Path, damage: Callable[[Store], Awaitable[object]], read: object
) -> None:
    async with store_of("v1", "plain", tmp_path) as store:
        with capture_logs() as logs:
            assert await damage(store) == read
        kept = [
            await store.batcher.command("LINDEX", store.keys.memory(CLOSED), -1),
            await store.batcher.command("HGET", store.keys.recap(CLOSED), "record"),
            await store.batcher.command("HGET", store.keys.facts("slack:T1", "U1"), "2"),
        ]

    assert [log["event"] for log in logs] == ["store.unknown_record"]
    assert any(record is not None and record.startswith(b"9{") for record in kept)


def test_an_event_of_a_newer_version_waits_for_a_newer_worker() -> None:
    [turn] = [row for row in stored.read("v1", "plain") if row["name"].endswith("dm/2:D1-:turn")]
    fields = dict(zip(turn["value"][::2], turn["value"][1::2], strict=True))
    newer = msgspec.json.decode(fields["event:1"]) | {"format": 2, "renamed": True}

    assert newer_since(fields["event:1"].encode()) is None
    assert newer_since(msgspec.json.encode(newer)) == 1700000002.0
