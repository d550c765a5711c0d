"""Discord's slash commands are those of the one table."""

from __future__ import annotations

import pytest

from adapters.chat.commands import BY_NAME
from bot.testing.discord import DiscordTwin
from tests.adapters.chat.test_discord import RecordingInbox, connected
from tests.contracts import chat as contracts

STRING = 3  # docs.discord.com, application command option types


async def test_the_registered_commands_are_the_table() -> None:
    async with DiscordTwin() as discord, connected(discord, RecordingInbox()):
        await discord.wait_for(lambda: discord.world.commands)
        registered = {each["name"]: each for each in discord.world.commands if each["type"] == 1}

    assert set(registered) == set(BY_NAME)
    for name, spec in BY_NAME.items():
        options, argument = registered[name].get("options", []), spec.argument
        assert registered[name]["description"] == spec.description
        assert len(options) == (argument is not None)
        if argument is not None:
            [option] = options
            told = (option["name"], option["description"], option["required"], option["type"])
            assert told == (argument.name, argument.description, argument.required, STRING)
            choices = tuple(each["value"] for each in option.get("choices", ()))
            assert choices == argument.choices


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("model", {"route": "phi"}, "model: phi"),
        ("private", {"state": "on"}, "private: on"),
        ("memory", {}, "memory: all"),
        ("feedback", {"text": "good"}, "feedback: good"),
        ("help", {}, "help: all"),
    ],
)
async def test_each_kind_of_command_reaches_the_inbox(
    name: str, options: dict[str, str], told: str
) -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.wait_for(lambda: discord.world.commands)
        asked = await discord.command(discord.alice, discord.general, name, {**options})
        await discord.wait_for(lambda: discord.answer_to(asked))
        await discord.wait_for(lambda: inbox.commands)

        def answer() -> str:
            posted = discord.answer_to(asked)
            return posted.content if posted is not None else ""

        await discord.wait_for(answer)

    assert answer() == told


async def test_what_is_typed_is_completed_by_what_the_inbox_knows() -> None:
    inbox = contracts.RecordingInbox()
    inbox.suggestions = ("phi-local", "x" * 101, *(f"phi-{n}" for n in range(40)))
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.wait_for(lambda: discord.world.commands)
        asked = await discord.interactions.complete(
            discord.alice, discord.general, "model", "route", "ph"
        )
        await discord.wait_for(lambda: asked.choices is not None)

    assert asked.choices is not None
    assert asked.choices[:2] == ["phi-local", "phi-0"]
    assert len(asked.choices) == 25
    [typed] = inbox.suggested
    assert (typed.name, typed.argument, typed.author.user_id) == (
        "model",
        "ph",
        str(discord.alice.id),
    )
