"""Half characters in what people send never reach a store or a wire, by any platform."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from adapters.chat.safe_text import sound
from adapters.chat.terminal import TerminalAdapter
from adapters.chat.types import Message
from bot.testing.discord import DiscordTwin
from tests.adapters.chat import slack_bot, test_discord
from tests.contracts.chat import RecordingInbox, running

HALF = "\ud83d"


def stored(message: Message) -> Message:
    """As the ledger keeps it; fails to encode where half a character is left."""
    return msgspec.json.decode(msgspec.json.encode(message), type=Message)


@given(st.text(st.characters()), st.sampled_from(["", HALF, "\udc00", "\udce9"]), st.text())
@settings(max_examples=200, deadline=None)
def test_sound_text_can_be_encoded_and_valid_text_stays(one: str, half: str, two: str) -> None:
    whole = sound(one + half + two)

    assert whole.encode().decode() == whole
    assert half or whole == one + two
    assert sound("\ud83d\ude00") == "😀"


async def test_half_a_character_in_slack_text_and_file_names_is_replaced() -> None:
    async with slack_bot.running() as bench:
        await bench.slack.say("U1", "D1", f"a{HALF}b", files=[(f"x{HALF}.png", b"x")])
        [message] = await bench.heard()

    assert stored(message).text == "a\ufffdb"
    assert message.attachments[0].name == "x\ufffd.png"


async def test_half_a_character_in_discord_text_and_file_names_is_replaced() -> None:
    inbox = test_discord.RecordingInbox()
    async with DiscordTwin() as discord, test_discord.connected(discord, inbox):
        await discord.say(discord.alice, discord.dm, f"a{HALF}b", files=[(f"x{HALF}.png", b"x")])
        await inbox.hears(1)
        question = {"question": f"why{HALF}?"}
        await discord.command(discord.bob, discord.general, "ask", question)
        await inbox.hears(2)

    message, asked = inbox.messages
    assert stored(message).text == "a\ufffdb"
    assert message.attachments[0].name == "x\ufffd.png"
    assert asked.text == "why\ufffd?"


def odd_file(folder: Path) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9 50%.png"))
    try:
        path.write_bytes(b"png")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    return path


async def test_a_file_whose_name_is_not_unicode_is_read_from_the_terminal(tmp_path: Path) -> None:
    path = odd_file(tmp_path)
    inbox, lines = RecordingInbox(), asyncio.Queue[str | None]()
    output = Console(file=io.StringIO())
    adapter = TerminalAdapter(channel="c1", output=output, input=lines.get)
    message = await adapter.ask_once(inbox, f"see{HALF}", path)

    assert stored(message).text == "see\ufffd"
    assert message.attachments[0].name == "caf\ufffd 50%.png"
    assert await adapter.fetch(stored(message).attachments[0], max_bytes=100) == b"png"
    async with running(adapter, inbox):
        await inbox.next()
        lines.put_nowait(f"typed{HALF}")
        assert (await inbox.next()).text == "typed\ufffd"
