"""The fixtures of the test kit; docs/testing.md shows them at work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

if TYPE_CHECKING:  # imported when first used: every pytest run of the environment loads this file
    from bot.testing.conversation import Conversation
    from bot.testing.discord import DiscordTwin
    from bot.testing.mattermost import MattermostTwin
    from bot.testing.model import ScriptedModel
    from bot.testing.slack import SlackTwin


@pytest_asyncio.fixture
async def slack_twin() -> AsyncIterator[SlackTwin]:
    """A fake Slack on a loopback port."""
    from bot.testing.slack import SlackTwin

    async with SlackTwin() as slack:
        yield slack


@pytest_asyncio.fixture
async def discord_twin() -> AsyncIterator[DiscordTwin]:
    """A fake Discord on a loopback port."""
    from bot.testing.discord import DiscordTwin

    async with DiscordTwin() as discord:
        yield discord


@pytest_asyncio.fixture
async def mattermost_twin() -> AsyncIterator[MattermostTwin]:
    """A fake Mattermost on a loopback port."""
    from bot.testing.mattermost import MattermostTwin

    async with MattermostTwin() as server:
        yield server


@pytest.fixture
def scripted_model() -> ScriptedModel:
    """The model of the conversations."""
    from bot.testing.model import ScriptedModel

    return ScriptedModel()


@pytest.fixture
def firstline_settings() -> Mapping[str, Any]:
    """Settings by dotted name, `{"tools.file": …}`; override it in a module or a conftest."""
    return {}


@pytest_asyncio.fixture
async def slack_conversation(
    slack_twin: SlackTwin,
    scripted_model: ScriptedModel,
    firstline_settings: Mapping[str, Any],
    tmp_path: Path,
) -> AsyncIterator[Conversation]:
    """A person and firstline in a thread of the fake Slack."""
    from bot.testing.conversation import OnSlack, conversation

    talk = conversation(
        OnSlack(slack_twin), scripted_model, folder=tmp_path, settings=firstline_settings
    )
    async with talk as opened:
        yield opened


@pytest_asyncio.fixture
async def discord_conversation(
    discord_twin: DiscordTwin,
    scripted_model: ScriptedModel,
    firstline_settings: Mapping[str, Any],
    tmp_path: Path,
) -> AsyncIterator[Conversation]:
    """A person and firstline in a chain of replies on the fake Discord."""
    from bot.testing.conversation import OnDiscord, conversation

    talk = conversation(
        OnDiscord(discord_twin), scripted_model, folder=tmp_path, settings=firstline_settings
    )
    async with talk as opened:
        yield opened


@pytest_asyncio.fixture
async def mattermost_conversation(
    mattermost_twin: MattermostTwin,
    scripted_model: ScriptedModel,
    firstline_settings: Mapping[str, Any],
    tmp_path: Path,
) -> AsyncIterator[Conversation]:
    """A person and firstline in a thread of the fake Mattermost."""
    from bot.testing.conversation import OnMattermost, conversation

    talk = conversation(
        OnMattermost(mattermost_twin), scripted_model, folder=tmp_path, settings=firstline_settings
    )
    async with talk as opened:
        yield opened
