"""Answers from the team's documents on every platform: real SDKs, real index, real embedder."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.models.scripted import Say
from bot.channels import ChannelDefaults, support_of
from bot.testing.conversation import Conversation, OnDiscord, OnSlack
from bot.testing.discord import DiscordTwin
from tests.knowledge.handbook import read_handbook

PLATFORMS = ("slack_conversation", "discord_conversation", "mattermost_conversation")
SECRET = {"merger.md": "# The merger\nThe merger with Bluebird is signed on the fourth of July.\n"}


@pytest.fixture
async def firstline_settings(tmp_path: Path) -> Mapping[str, Any]:
    await read_handbook(tmp_path / "data")
    await read_handbook(
        tmp_path / "data", SECRET, name="board", readers=("channel:slack:T0TWIN/C7",)
    )
    return {
        "channel_defaults.knowledge": ["handbook"],
        "channel_defaults.mode": "confident",
        "hand_over.channels": {"slack": "C9"},
    }


@pytest.fixture(params=PLATFORMS)
def talk(request: pytest.FixtureRequest) -> Conversation:
    found: Conversation = request.getfixturevalue(request.param)
    return found


async def test_an_answer_names_the_documents_that_hold_it(talk: Conversation) -> None:
    talk.model.says("Every employee has 28 days of vacation a year [1].")
    said = await talk.ask("How many days of vacation do I have?")

    assert "28 days of vacation a year [1]." in said.replace("year. [1]", "year [1].")
    assert "Sources" in said
    assert "https://handbook.example.org/vacation.md" in said
    [asked] = talk.model.requests
    told = "\n".join(message.text for message in asked.messages)
    assert "Every employee has 28 days" in told  # looked up before the model was asked


async def test_what_the_documents_do_not_hold_is_not_asked_of_a_model(
    slack_conversation: Conversation,
) -> None:
    said = await slack_conversation.ask("Which Stripe API key do I need for payments?")

    assert "I did not find this in my documents." in said
    assert "`!human` calls a person" in said
    assert slack_conversation.model.requests == []


async def test_a_claim_that_the_documents_contradict_is_replaced_by_their_words(
    slack_conversation: Conversation,
) -> None:
    slack_conversation.model.says("You have 35 days of holiday and a free car [1].")
    said = await slack_conversation.ask("How many days of vacation do I have?")

    assert "35" not in said
    assert "28 days of vacation a year" in said
    assert "the model's answer did not hold" in said
    figures = slack_conversation.bot.metrics.exposition().decode()
    assert 'firstline_support_answers_total{came="quoted"} 1.0' in figures
    assert 'firstline_support_claims_total{held="no"} 1.0' in figures


async def test_a_link_that_no_document_has_loses_its_address(
    slack_conversation: Conversation,
) -> None:
    slack_conversation.model.says(
        "Open the self-service page, choose VPN and press Reset [1]. "
        "See [this page](https://evil.example/?q=secret)."
    )
    said = await slack_conversation.ask("How do I reset the VPN password?")

    assert "evil.example" not in said
    assert "https://handbook.example.org/vpn.md" in said


async def test_a_document_is_found_only_where_all_may_read_it(
    slack_conversation: Conversation,
) -> None:
    """Row H3: who may read it elsewhere asks where not everyone may."""
    said = await slack_conversation.ask("When is the merger with Bluebird signed?")

    assert "I did not find this" in said
    assert "July" not in said


async def test_a_question_into_the_room_is_answered_and_chatter_is_not(
    slack_conversation: Conversation,
) -> None:
    talk, person = slack_conversation, slack_conversation.person
    assert isinstance(person, OnSlack)
    slack = person.slack
    chatter = await slack.say(person.user, person.channel, "Good morning everyone")
    in_vain = await slack.say(person.user, person.channel, "Which Stripe API key do I need?")
    await talk.turn_ended("not in the documents")
    assert len(slack.posted(person.channel, in_vain)) == 1
    talk.model.says("Open the self-service page, choose VPN and press Reset [1].")
    ts = await slack.say(person.user, person.channel, "How do I reset the VPN password?")
    await slack.wait_for(lambda: "Sources" in slack.posted(person.channel, ts)[-1].text)
    assert len(slack.posted(person.channel, chatter)) == 1
    closed = await talk.bot.stores.ledger.closed("slack:T0TWIN")
    assert len(closed) <= 2  # the chatter was not even stored


async def test_a_question_into_a_discord_channel_is_answered_too(
    discord_conversation: Conversation, discord_twin: DiscordTwin
) -> None:
    talk, person = discord_conversation, discord_conversation.person
    assert isinstance(person, OnDiscord)
    await discord_twin.say(discord_twin.alice, discord_twin.general, "lunch at noon")
    talk.model.says("Open the self-service page, choose VPN and press Reset [1].")
    await discord_twin.say(
        discord_twin.alice, discord_twin.general, "How do I reset the VPN password?"
    )
    await discord_twin.wait_for(lambda: any("Sources" in said for said in person.replies()))
    assert len(person.replies()) == 1


async def test_a_short_follow_up_is_looked_up_with_the_question_before_it(
    slack_conversation: Conversation,
) -> None:
    talk = slack_conversation
    talk.model.says("Every employee has 28 days of vacation a year [1].")
    await talk.ask("How many days of vacation do I have?")
    talk.model.says("Unused days can be taken until the end of March of the next year [2].")
    said = await talk.ask("And unused ones?")

    assert "until the end of March" in said
    assert "Sources" in said


@pytest.fixture
def switched_off(firstline_settings: dict[str, Any]) -> None:
    firstline_settings["channel_defaults.mode"] = "off"


async def test_the_bot_is_silent_where_it_is_switched_off(
    switched_off: None, slack_conversation: Conversation
) -> None:
    talk = slack_conversation
    before = len(talk.person.replies())
    await talk.person.say("How many days of vacation do I have?")
    await asyncio.wait_for(talk.turn_ended("switched off here"), 20)
    assert len(talk.person.replies()) == before


async def test_a_conversation_that_stays_here_is_looked_up_nowhere_else(
    slack_conversation: Conversation,
) -> None:
    """Row E6: an embedder in a cloud would read the question."""
    talk = slack_conversation
    support = talk.bot._support
    assert support is not None
    support.knowledge.is_local = False
    await talk.ask_command("!private on")
    asked: list[str] = []

    async def embed(texts: list[str], kind: str) -> list[list[float]]:
        asked.extend(texts)
        return []

    support.knowledge._embedder.embed = embed  # type: ignore[method-assign,assignment]
    talk.model.says("I can't look that up here.")
    await talk.ask("How many days of vacation do I have?")

    assert asked == []


@pytest.fixture
def with_persona(firstline_settings: dict[str, Any]) -> None:
    firstline_settings["channel_defaults.persona"] = "You are the help desk of Example Ltd."
    firstline_settings["channel_defaults.answer_in"] = "de"


async def test_a_channel_has_a_persona_and_a_language_of_its_own(
    with_persona: None, slack_conversation: Conversation
) -> None:
    talk = slack_conversation
    talk.model.says("28 Tage [1].")
    await talk.ask("How many days of vacation do I have?")

    head = talk.model.requests[0].messages[0].text
    assert "You are the help desk of Example Ltd. Answer in German." in head


def test_the_language_of_answers_is_told_to_the_model() -> None:
    rule = support_of((), ChannelDefaults(persona="Be brief.", answer_in="de"))("C1")
    assert rule.persona == "Be brief. Answer in German."


@pytest.fixture
def one_turn_a_day(firstline_settings: dict[str, Any]) -> None:
    firstline_settings["budget.turns_per_user_day"] = 1


async def test_who_asks_the_room_is_not_told_of_a_limit(
    one_turn_a_day: None, slack_conversation: Conversation
) -> None:
    talk, person = slack_conversation, slack_conversation.person
    assert isinstance(person, OnSlack)
    talk.model.says("Every employee has 28 days of vacation a year [1].")
    await talk.ask("How many days of vacation do I have?")
    ts = await person.slack.say(person.user, person.channel, "How do I reset the VPN password?")
    await talk.turn_ended("over the day's limit")

    assert len(person.slack.posted(person.channel, ts)) == 1


async def test_an_answer_in_another_language_than_its_document_holds_too(
    slack_conversation: Conversation,
) -> None:
    talk = slack_conversation
    talk.model.says("Sie haben 28 Tage Urlaub im Jahr [1]. Dazu kommt ein Firmenwagen [1].")
    said = await talk.ask("How many days of vacation do I have?")

    assert "28 Tage Urlaub im Jahr. [1]" in said.replace(" [1].", ". [1]")
    assert "Firmenwagen [1]" not in said.replace(". [1]", " [1]")
    assert "https://handbook.example.org/vacation.md" in said


@pytest.fixture
def with_small_model(firstline_settings: dict[str, Any]) -> None:
    firstline_settings["roles.small"] = ["scripted"]


async def test_a_follow_up_is_rewritten_by_the_small_model_where_one_is_named(
    with_small_model: None, slack_conversation: Conversation
) -> None:
    talk = slack_conversation
    talk.model.says("Every employee has 28 days of vacation a year [1].")
    await talk.ask("How many days of vacation do I have?")
    talk.model.says("Until when must I take unused vacation days?")
    talk.model.says("Until the end of March of the next year [1].")
    said = await talk.ask("And until when must I take those that are left over?")

    assert "end of March" in said
    rewriting, answering = talk.model.requests[1:]
    told = rewriting.messages[-1].text
    assert "Person: How many days of vacation do I have?" in told
    assert "Last question: And until when" in told
    looked_for = "\n".join(message.text for message in answering.messages)
    assert "Until when must I take unused vacation days?" in looked_for


@pytest.mark.parametrize("reply", ["", "x" * 400])
async def test_a_rewriting_that_is_none_leaves_the_question_as_it_is(
    with_small_model: None, slack_conversation: Conversation, reply: str
) -> None:
    talk = slack_conversation
    talk.model.says("Every employee has 28 days of vacation a year [1].")
    await talk.ask("How many days of vacation do I have?")
    talk.model.replies(Say(reply))
    talk.model.says("Choose VPN and press Reset [1].")
    said = await talk.ask("How do I reset the VPN password?")

    assert "https://handbook.example.org/vpn.md" in said
