"""Slash commands and what Discord is answered to an interaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import discord
from discord import app_commands

from adapters.chat.commands import ASK, COMMANDS, MOST_SUGGESTIONS, CommandSpec
from adapters.chat.discord_callbacks import Callbacks
from adapters.chat.types import DeliveryError

CALL_TIMEOUT_S = 60.0
_CHOICE_CHARS = 100  # docs.discord.com, application command option choices
NO_MENTIONS = discord.AllowedMentions.none()
Commanded = Callable[[discord.Interaction, str, str], Awaitable[None]]
Suggested = Callable[[discord.Interaction, str, str], Awaitable[Sequence[str]]]


def add_commands(tree: app_commands.CommandTree[Any], callbacks: Callbacks) -> None:
    """Every command of the table; `/ask` goes another way than the others."""
    asked, suggested = callbacks.asked, callbacks.suggested
    ask = _made(ASK, lambda interaction, _, text: asked(interaction, text), suggested)
    tree.add_command(ask)
    for spec in COMMANDS:
        tree.add_command(_made(spec, callbacks.commanded, suggested))


def _made(
    spec: CommandSpec, run: Commanded, suggested: Suggested
) -> app_commands.Command[Any, ..., None]:
    argument = spec.argument

    async def plain(interaction: discord.Interaction) -> None:
        await run(interaction, spec.name, "")

    async def optional(interaction: discord.Interaction, text: str = "") -> None:
        await run(interaction, spec.name, text)

    async def required(interaction: discord.Interaction, text: str) -> None:
        await run(interaction, spec.name, text)

    async def complete(
        interaction: discord.Interaction, typed: str
    ) -> list[app_commands.Choice[str]]:
        found = await suggested(interaction, spec.name, typed)
        fitting = [each for each in found if len(each) <= _CHOICE_CHARS]
        return [app_commands.Choice(name=each, value=each) for each in fitting[:MOST_SUGGESTIONS]]

    if argument is None:
        return app_commands.Command(name=spec.name, description=spec.description, callback=plain)
    taking = required if argument.required else optional
    app_commands.rename(text=argument.name)(taking)
    app_commands.describe(text=argument.description)(taking)
    if argument.choices:
        named = [app_commands.Choice(name=each, value=each) for each in argument.choices]
        app_commands.choices(text=named)(taking)
    if argument.suggests:
        app_commands.autocomplete(text=complete)(taking)
    return app_commands.Command(name=spec.name, description=spec.description, callback=taking)


async def echo(interaction: discord.Interaction, text: str) -> int:
    """Answer a slash command visibly; returns the message's id."""
    async with asyncio.timeout(CALL_TIMEOUT_S):
        answer = await interaction.response.send_message(
            text, allowed_mentions=NO_MENTIONS, suppress_embeds=True
        )
    if answer.message_id is None:
        raise DeliveryError("discord", "the acknowledgement has no id", retryable=False)
    return answer.message_id


async def defer(interaction: discord.Interaction) -> None:
    """Acknowledge a slash command in private; `tell` completes it."""
    async with asyncio.timeout(CALL_TIMEOUT_S):
        await interaction.response.defer(ephemeral=True, thinking=True)


async def acknowledge(interaction: discord.Interaction) -> None:
    """Take a press without a word; `whisper` may follow."""
    async with asyncio.timeout(CALL_TIMEOUT_S):
        await interaction.response.defer()


async def whisper(interaction: discord.Interaction, text: str) -> None:
    async with asyncio.timeout(CALL_TIMEOUT_S):
        await interaction.followup.send(text, ephemeral=True, allowed_mentions=NO_MENTIONS)


async def tell(interaction: discord.Interaction, text: str) -> None:
    async with asyncio.timeout(CALL_TIMEOUT_S):
        await interaction.edit_original_response(content=text, allowed_mentions=NO_MENTIONS)
