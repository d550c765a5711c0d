"""The store that an operator opens: with its key only, and empty after a purge."""

from __future__ import annotations

import asyncio
import io
import secrets
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from adapters.stores.errors import StoreRefused
from bot.cli import app
from bot.key_rotation import rotate_keys
from bot.memory_purge import purge_tenant
from bot.settings import SettingsError, load_settings
from bot.stores import open_stores
from tests.bot.test_bot import Chat, bot_with, message, settings_in, until
from tests.bot.test_memory_commands import DM, TENANT, talking

CANARY = "canary-4711"


def key_file(folder: Path, name: str = "memory.key") -> Path:
    file = folder / name
    file.write_text(secrets.token_hex(32) + "\n")
    return file


async def asked(folder: Path, text: str, number: int, **overrides: object) -> tuple[str, bytes]:
    """One question to a bot that is started for it: the answer, and all that lies in Redis."""
    chat, settings = Chat(), settings_in(folder, **overrides)
    async with bot_with(chat, settings) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop))
        await bot.inbox.accept(message(text, number=number))
        await until(lambda: f"t1-{number}" in chat.delivered)
        stop.set()
        redis = bot.stores.redis
        await redis.config_set("rdbcompression", "no")
        names = [name async for name in redis.scan_iter(match="fl:*")]
        lying = b"".join([await redis.dump(name) or b"" for name in names])
    return chat.delivered[f"t1-{number}"][0], lying


async def test_a_bot_with_a_key_remembers_over_a_restart_and_leaves_nothing_readable(
    tmp_path: Path,
) -> None:
    key = {"memory.key_file": key_file(tmp_path)}
    _, lying = await asked(tmp_path, f"The word is {CANARY}. What is 6*7?", 1, **key)
    async with open_stores(settings_in(tmp_path, **key)) as stores:
        turns = await stores.memory.turns(message("").conversation)

    assert len(lying) > 1000
    assert CANARY.encode() not in lying
    assert CANARY in turns[0].text


async def test_without_a_key_it_is_all_readable(tmp_path: Path) -> None:
    _, lying = await asked(tmp_path, f"The word is {CANARY}. What is 6*7?", 1)

    assert CANARY.encode() in lying


@pytest.mark.parametrize("given", ["none", "another"])
async def test_a_sealed_store_is_not_opened_without_its_key(tmp_path: Path, given: str) -> None:
    await asked(tmp_path, "What is 6*7?", 1, **{"memory.key_file": key_file(tmp_path)})
    other = {"memory.key_file": key_file(tmp_path, "other.key")} if given == "another" else {}

    with pytest.raises(StoreRefused, match=r"memory\.key_file"):
        async with open_stores(settings_in(tmp_path, **other)):
            pass


@pytest.mark.parametrize("content", [None, "not a key"])
async def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "broken.key"
    if content is not None:
        file.write_text(content)

    with pytest.raises(StoreRefused, match=r"broken\.key"):
        async with open_stores(settings_in(tmp_path, **{"memory.key_file": file})):
            pass


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"memory.retention_days": 0}, "memory.retention_days"),
        ({"memory.read_plain": True}, "memory.key_file"),
        ({"memory.key": "00", "memory.key_file": "k"}, "memory.key"),
    ],
)
def test_settings_that_contradict_each_other_name_their_field(
    overrides: dict[str, object], field: str
) -> None:
    with pytest.raises(SettingsError, match=field):
        load_settings(environ={}, overrides=overrides)


def test_the_key_prints_as_stars() -> None:
    settings = load_settings(environ={"FIRSTLINE_MEMORY__KEY": "ab" * 32})

    assert "ab" * 32 not in repr(settings)
    assert "ab" * 32 in settings.secrets()


async def test_a_purge_shows_asks_deletes_and_counts_again(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        await talk.slash("remember", "I work in Trondheim")
        await talk.say("Hello", DM)
    settings, screen = settings_in(tmp_path), io.StringIO()
    console = Console(file=screen, width=100)
    refused = await purge_tenant(settings, TENANT, confirmed=lambda ask: False, console=console)
    done = await purge_tenant(settings, TENANT, confirmed=lambda ask: True, console=console)
    again = await purge_tenant(settings, TENANT, confirmed=lambda ask: True, console=console)
    async with open_stores(settings) as stores:
        left = [name async for name in stores.redis.scan_iter(match=f"*{TENANT}*")]

    told = screen.getvalue()
    assert (refused, done, again) == (1, 0, 0)
    assert "Nothing was deleted." in told
    assert "a new count finds 0" in told
    assert f"Nothing is kept of {TENANT}." in told
    assert left == []


@pytest.mark.parametrize("arguments", [["slack"], ["slack:T1"]])
def test_the_purge_takes_a_tenant_and_asks_unless_told_not_to(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["memory", "purge", *arguments])

    assert done.exit_code == 2


async def test_new_keys_are_told_in_counts_and_everything_is_read_on(tmp_path: Path) -> None:
    key = {"memory.key_file": key_file(tmp_path)}
    await asked(tmp_path, f"The word is {CANARY}. What is 6*7?", 1, **key)
    settings, screen = settings_in(tmp_path, **key), io.StringIO()
    done = await rotate_keys(settings, is_stopped=True, console=Console(file=screen, width=100))
    async with open_stores(settings) as stores:
        turns = await stores.memory.turns(message("").conversation)

    assert done == 0
    assert "old keys dropped" in screen.getvalue()
    assert CANARY in turns[0].text


async def test_there_are_no_keys_to_change_without_a_master_key(tmp_path: Path) -> None:
    console = Console(file=io.StringIO())

    assert await rotate_keys(settings_in(tmp_path), is_stopped=True, console=console) == 2
