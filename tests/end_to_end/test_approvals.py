"""A card, a press and its act on every platform: real SDKs, wire-level twins, real Redis."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from agents.ports import ImageData, ModelRequest
from bot.testing.conversation import Conversation, OnDiscord, OnSlack
from tests.bot.approval_bot import TOOLS, done
from tests.pictures import encoded

PLATFORMS = ("slack_conversation", "discord_conversation", "mattermost_conversation")


@pytest.fixture
def firstline_settings(tmp_path: Path) -> Mapping[str, Any]:
    file = tmp_path / "own_tools.py"
    file.write_text(TOOLS.format(trace=str(tmp_path / "trace")))
    return {"tools.file": str(file)}


@pytest.fixture(params=PLATFORMS)
def talk(request: pytest.FixtureRequest) -> Conversation:
    found: Conversation = request.getfixturevalue(request.param)
    return found


async def test_nothing_is_done_before_the_press_and_the_answer_takes_the_cards_place(
    talk: Conversation, tmp_path: Path
) -> None:
    talk.model.calls("delete_page", name="holidays").says("The page is gone.")
    card = await talk.ask("Delete the page holidays")
    assert talk.ended is not None
    assert talk.ended.state == "asked"
    assert '"name": "holidays"' in card
    assert done(tmp_path) == []

    assert await talk.press("approve") == "The page is gone."
    assert done(tmp_path) == ["delete holidays"]


async def test_a_refusal_is_as_easy_and_nothing_is_done(talk: Conversation, tmp_path: Path) -> None:
    talk.model.calls("delete_page", name="holidays")
    await talk.ask("Delete the page holidays")

    assert "You refused" in await talk.press("deny")
    assert done(tmp_path) == []


async def test_another_members_press_on_slack_does_nothing_and_they_are_told(
    slack_conversation: Conversation, tmp_path: Path
) -> None:
    slack_conversation.model.calls("delete_page", name="holidays")
    await slack_conversation.ask("Delete the page holidays")
    person = slack_conversation.person
    assert isinstance(person, OnSlack)
    other = person.slack.add_user("U2")
    card = person.slack.posted(person.channel, person.thread)[-1].ts
    run = await person.slack.press(other, person.channel, card, "firstline_approve")
    await person.slack.wait_for(lambda: run.answers)

    assert "not allowed" in run.answers[-1]
    assert done(tmp_path) == []


async def test_another_members_press_on_discord_does_nothing(
    discord_conversation: Conversation, tmp_path: Path
) -> None:
    discord_conversation.model.calls("delete_page", name="holidays")
    await discord_conversation.ask("Delete the page holidays")
    person = discord_conversation.person
    assert isinstance(person, OnDiscord)
    discord = person.discord
    other = discord.world.add_user("mallory")
    card = discord.posted(discord.general)[-1]
    pressed = await discord.press(other, str(card.id), "approve")
    told = await discord.wait_for(lambda: discord.answer_to(pressed))

    assert told.ephemeral
    assert "not allowed" in told.content
    assert done(tmp_path) == []


async def test_the_card_shows_the_very_picture_that_the_model_saw(
    slack_conversation: Conversation, tmp_path: Path
) -> None:
    """Row F7: what is in it may only appear when it is shrunk."""
    large = encoded(Image.linear_gradient("L").resize((3000, 2000)).convert("RGB"), "PNG")
    slack_conversation.model.says("It says: delete the page holidays.")
    slack_conversation.model.calls("delete_page", name="holidays").says("Gone.")
    await slack_conversation.ask("Do what it says", [("order.png", large)])
    assert slack_conversation.ended is not None
    assert slack_conversation.ended.state == "asked"

    person = slack_conversation.person
    assert isinstance(person, OnSlack)
    world = person.slack.world
    posted = [each for each in world.posted.values() if each.user == world.bot_user_id]
    [shown] = [world.files[file["id"]][1] for each in posted for file in each.files]
    [sent] = [image.data for each in slack_conversation.model.requests for image in images_of(each)]
    assert shown == sent
    assert max(Image.open(BytesIO(shown)).size) < 3000
    assert await slack_conversation.press("approve") == "Gone."
    assert done(tmp_path) == ["delete holidays"]
    assert not [
        each for each in world.posted.values() if each.user == world.bot_user_id and each.files
    ]


def images_of(request: ModelRequest) -> list[ImageData]:
    return [image for message in request.messages for image in message.images]
