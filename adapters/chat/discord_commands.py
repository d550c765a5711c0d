"""Slash commands and what Discord is answered to an interaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import discord
from discord import app_commands

from adapters.chat.commands import ASK, COMMANDS, CommandSpec
from adapters.chat.types import DeliveryError

CALL_TIMEOUT_S = 60.0
NO_MENTIONS = discord.AllowedMentions.none()
Asked = Callable[[discord.Interaction, str], Awaitable[None]]
Commanded = Callable[[discord.Interaction, str, str], Awaitable[None]]


def add_commands(
    tree: app_commands.CommandTree[Any], *, asked: Asked, commanded: Commanded
) -> None:
    """Every command of the table; `/ask` goes another way than the others."""
    tree.add_command(_made(ASK, lambda interaction, _, text: asked(interaction, text)))
    for spec in COMMANDS:
        tree.add_command(_made(spec, commanded))


def _made(spec: CommandSpec, run: Commanded) -> app_commands.Command[Any, ..., None]:
    argument = spec.argument

    async def plain(interaction: discord.Interaction) -> None:
        await run(interaction, spec.name, "")

    async def optional(interaction: discord.Interaction, text: str = "") -> None:
        await run(interaction, spec.name, text)

    async def required(interaction: discord.Interaction, text: str) -> None:
        await run(interaction, spec.name, text)

    if argument is None:
        return app_commands.Command(name=spec.name, description=spec.description, callback=plain)
    taking = required if argument.required else optional
    app_commands.rename(text=argument.name)(taking)
    app_commands.describe(text=argument.description)(taking)
    if argument.choices:
        named = [app_commands.Choice(name=each, value=each) for each in argument.choices]
        app_commands.choices(text=named)(taking)
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
        await interaction.response.defer(ephemeral=True)


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
