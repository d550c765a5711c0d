"""Access as the settings files say it now, also for what waits for a press (row K3)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.chat.types import Author
from bot.access import Access, Reread, Source
from bot.admission import Admitted, Denied
from bot.settings import Settings, load_settings
from bot.testing.conversation import Conversation
from tests.bot.approval_bot import TOOLS, done
from tests.bot.test_bot import until
from tests.bot.test_fingers import ASKER, HERE, asked, pressed
from tools.identity import Place, Principal

MEMBER, CHANNEL = Principal("slack:T1", "U1", "member"), Place("slack:T1", "public", "C1")

ALLOWED = """
[slack.allow]
workspaces = ["T1"]
channels = ["C1"]
users = ["U1"]
"""


def settings_of(file: Path, text: str) -> Settings:
    file.write_text(text)
    return load_settings(file, environ={})


def rewritten(file: Path, text: str) -> None:
    """Also where the clock of the file system is too coarse to show it."""
    file.write_text(text)
    at = os.stat(file).st_mtime + 1
    os.utime(file, (at, at))


async def test_who_is_taken_off_the_list_is_denied_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "firstline.toml"
    access = Access(settings_of(file, ALLOWED))
    reread = Reread(Source([file], partial(load_settings, file, environ={})), access.take)
    assert isinstance(access.gate.admit(HERE, ASKER), Admitted)

    rewritten(file, ALLOWED.replace('"U1"', '"U2"'))
    await reread.look()

    assert isinstance(access.gate.admit(HERE, ASKER), Denied)
    assert isinstance(access.gate.admit(HERE, Author("U2", "member")), Admitted)


@pytest.mark.parametrize("broken", ["[slack", "[slack.allow]\nusers = ['Alice']", "x = 1", "\xff"])
async def test_a_file_that_can_not_be_read_changes_nothing(tmp_path: Path, broken: str) -> None:
    file = tmp_path / "firstline.toml"
    access = Access(settings_of(file, ALLOWED))
    reread = Reread(Source([file], partial(load_settings, file, environ={})), access.take)
    rewritten(file, broken)
    await reread.look()

    assert isinstance(access.gate.admit(HERE, ASKER), Admitted)


@pytest.mark.parametrize(
    ("grant", "granted"),
    [
        ("", True),
        ("[tools.grants.file_ticket]", True),
        ("[tools.grants.file_ticket]\nusers = []", False),
        ('[tools.grants.file_ticket]\nusers = ["U1"]', True),
        ('[tools.grants.file_ticket]\nusers = ["U2"]', False),
        ('[tools.grants.file_ticket]\nusers = ["*"]\nchannels = ["C2"]', False),
        ('[tools.grants.file_ticket]\nchannels = ["C1"]', True),
        ("[tools.grants.other]\nusers = []", True),
    ],
)
def test_a_grant_names_people_and_channels_and_an_empty_list_nobody(
    tmp_path: Path, grant: str, granted: bool
) -> None:
    access = Access(settings_of(tmp_path / "firstline.toml", grant))
    assert access.granted("file_ticket", MEMBER, CHANNEL) is granted


def test_in_direct_messages_the_person_alone_counts(tmp_path: Path) -> None:
    text = '[tools.grants.file_ticket]\nusers = ["U1"]\nchannels = ["C1"]'
    access = Access(settings_of(tmp_path / "firstline.toml", text))
    assert access.granted("file_ticket", MEMBER, Place("slack:T1", "dm", "D1"))


async def test_who_was_taken_off_the_list_after_asking_can_not_press(tmp_path: Path) -> None:
    async with asked(tmp_path) as (bot, _):
        bot.access.take(load_settings(environ={}, overrides={"slack.allow.users": ["U2"]}))
        assert "not allowed" in await bot.inbox.press(pressed())

    assert done(tmp_path) == []


async def test_a_grant_taken_away_between_the_press_and_the_act_stops_the_act(
    tmp_path: Path,
) -> None:
    async with asked(tmp_path, answer="I could not.") as (bot, chat):
        revoked: dict[str, object] = {"tools.grants.delete_page": {"users": []}}
        grants = bot.settings.model_copy(
            update={"tools": load_settings(environ={}, overrides=revoked).tools}
        )
        bot.access.take(grants)
        assert await bot.inbox.press(pressed()) == ""
        await until(lambda: chat.delivered["C1:1.0"][-1] == "I could not.")

    assert done(tmp_path) == []


@pytest.fixture
def firstline_settings(tmp_path: Path) -> Mapping[str, Any]:
    file = tmp_path / "own_tools.py"
    file.write_text(TOOLS.format(trace=str(tmp_path / "trace")))
    return {"tools.file": str(file), "tools.grants.delete_page": {"users": ["U2"]}}


async def test_a_tool_granted_to_others_is_not_even_offered(
    slack_conversation: Conversation, tmp_path: Path
) -> None:
    slack_conversation.model.calls("delete_page", name="x").says("I have no such tool.")
    assert await slack_conversation.ask("Delete the page x") == "I have no such tool."

    asked_of_model = slack_conversation.model.requests[0]
    assert "delete_page" not in "".join(message.text for message in asked_of_model.messages)
    assert done(tmp_path) == []
