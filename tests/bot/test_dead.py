"""Dead letters, as the operator's commands show, replay and drop them."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from adapters.stores.ledger import Claim
from bot.app import Bot
from bot.cli import app
from bot.dead import list_letters, settle_letters
from bot.settings import Settings
from tests.bot.test_bot import Chat, bot_with, message, settings_in, until
from tests.bot.test_changes import TENANT, ends
from tests.redis_servers import RedisServer


async def dies(bot: Bot) -> None:
    """A worker that is killed with the turn in its hands, as often as is allowed."""
    for number in range(bot.settings.turns.max_deaths):
        async with asyncio.timeout(10):
            while await claim(bot, f"w{number}") is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def claim(bot: Bot, owner: str) -> Claim | None:
    return await bot.stores.ledger.claim(message("").conversation, owner=owner)


async def with_a_dead_letter(settings: Settings, chat: Chat) -> str:
    async with bot_with(chat, settings) as (bot, stop):
        await bot.inbox.accept(message("What is 6*7?"))
        await dies(bot)
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.run(stop))
            (end,) = await ends(bot)
            stop.set()
    return end["turn"]


async def test_a_replayed_dead_letter_is_answered_where_it_was_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat, settings = Chat(), settings_in(tmp_path, **{"turns.max_deaths": 1})
    turn_id = await with_a_dead_letter(settings, chat)
    chat.delivered.clear()

    assert await settle_letters(settings, [turn_id], everything=False, replay=True) == 0
    async with bot_with(chat, settings) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop))
        await until(lambda: chat.delivered)
        left = await bot.stores.dead.of(TENANT)
        stop.set()

    assert "42" in chat.delivered["t1-1"][0]
    assert left == []
    assert "1 asked again" in capsys.readouterr().out


async def test_the_list_names_the_turn_and_never_what_was_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path, **{"turns.max_deaths": 1})
    turn_id = await with_a_dead_letter(settings, Chat())
    capsys.readouterr()

    await list_letters(settings, as_json=True)
    out = capsys.readouterr().out
    listed = json.loads(out[out.index("[\n") :])

    assert [(row["turn"], row["deaths"]) for row in listed] == [(turn_id, 2)]
    assert "6*7" not in out


async def test_dropped_letters_are_gone_and_unknown_ones_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path, **{"turns.max_deaths": 1})
    turn_id = await with_a_dead_letter(settings, Chat())

    codes = [
        await settle_letters(settings, ids, everything=False, replay=False)
        for ids in ([turn_id, "unknown"], [])
    ]
    told = capsys.readouterr()

    assert codes == [1, 2]
    assert "1 dropped" in told.out
    assert "not dropped: unknown" in told.err


async def accept_raw(bot: Bot, record: bytes) -> None:
    await bot.stores.ledger.serve_tenant("browser", TENANT)
    await bot.stores.ledger.accept(
        message("").conversation,
        event_id="raw",
        group="=operator",
        record=record,
        sent_at=1.0,
        max_waiting=20,
    )


async def test_an_event_of_a_newer_version_is_left_to_that_versions_workers(
    tmp_path: Path,
) -> None:
    record = b'{"format": 99, "accepted_at": %f, "message": "unreadable here"}' % time.time()
    async with bot_with(Chat(), settings_in(tmp_path)) as (bot, stop):
        await accept_raw(bot, record)
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.run(stop))
            await asyncio.sleep(1)
            stop.set()
        closed = await bot.stores.ledger.closed(TENANT)
        async with asyncio.timeout(10):
            while (waiting := await claim(bot, "newer")) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    assert closed == []
    assert (waiting.events, waiting.deaths) == ((record,), 1)


@pytest.mark.parametrize("record", [b"\x00garbage", b'{"format": 99, "accepted_at": 5.0}', b"{}"])
async def test_an_event_that_nobody_can_read_is_set_aside_and_the_conversation_goes_on(
    tmp_path: Path, record: bytes
) -> None:
    chat = Chat()
    async with bot_with(chat, settings_in(tmp_path)) as (bot, stop), asyncio.TaskGroup() as group:
        await accept_raw(bot, record)
        await bot.inbox.accept(message("What is 6*7?"))
        group.create_task(bot.run(stop))
        await until(lambda: chat.delivered)
        (dead,) = await bot.stores.dead.of(TENANT)
        stop.set()

    assert "42" in chat.delivered["t1-1"][0]
    assert (dead.letter.events, dead.letter.reason) == ((record,), "unreadable event")


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (b'{"format": 99, "accepted_at": 5.0}', "store.newer_record"),
        (b"\x00garbage", "store.bad_record"),
    ],
)
async def test_a_newer_record_is_not_told_as_a_bad_one(
    tmp_path: Path, record: bytes, told: str
) -> None:
    async with bot_with(Chat(), settings_in(tmp_path)) as (bot, stop), asyncio.TaskGroup() as group:
        await accept_raw(bot, record)
        with capture_logs() as logs:
            group.create_task(bot.run(stop))
            await ends(bot)
        stop.set()

    events = [line["event"] for line in logs if line["event"].endswith("_record")]
    assert events == [told]


def test_dead_letters_of_a_redis_that_may_lose_them_are_listed_if_one_says_so(
    tmp_path: Path,
) -> None:
    server = RedisServer(tmp_path, "--maxmemory-policy", "allkeys-lru")
    server.start()
    server.ready()
    try:
        run = functools.partial(CliRunner().invoke, app, env={"FIRSTLINE_REDIS__URL": server.url})
        refused, listed = run(["dead", "list"]), run(["dead", "list", "--json", "--allow-volatile"])
    finally:
        server.stop()

    assert refused.exit_code == 1
    assert (listed.exit_code, json.loads(listed.stdout)) == (0, [])
