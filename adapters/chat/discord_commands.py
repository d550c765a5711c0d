"""Slash commands and what Discord is answered to an interaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import discord
from discord import app_commands

from adapters.chat.types import DeliveryError

CALL_TIMEOUT_S = 60.0
NO_MENTIONS = discord.AllowedMentions.none()
COMMANDS = {
    "again": "Answer your last question here anew",
    "remember": "Let me remember something about you",
    "memory": "Show, export or forget what is remembered",
    "model": "Show or switch the model",
    "private": "Keep this conversation on the bot's own machine",
    "reset": "Begin a new conversation",
    "stop": "Stop the answers that are being made for you",
}


def add_commands(
    tree: app_commands.CommandTree[Any],
    *,
    asked: Callable[[discord.Interaction, str], Awaitable[None]],
    commanded: Callable[[discord.Interaction, str, str], Awaitable[None]],
) -> None:
    @tree.command(name="ask", description="Ask the assistant a question")
    @app_commands.describe(question="Your question")
    async def ask(interaction: discord.Interaction, question: str) -> None:
        await asked(interaction, question)

    @tree.command(name="model", description=COMMANDS["model"])
    @app_commands.describe(route="The route to use from now on; empty shows them all")
    async def model(interaction: discord.Interaction, route: str = "") -> None:
        await commanded(interaction, "model", route)

    @tree.command(name="private", description=COMMANDS["private"])
    @app_commands.describe(state="on or off; empty tells which it is")
    async def private(interaction: discord.Interaction, state: str = "") -> None:
        await commanded(interaction, "private", state)

    @tree.command(name="memory", description=COMMANDS["memory"])
    @app_commands.describe(what="show, forget, export, remember TEXT, share on or off")
    async def memory(interaction: discord.Interaction, what: str = "show") -> None:
        await commanded(interaction, "memory", what)

    @tree.command(name="remember", description=COMMANDS["remember"])
    @app_commands.describe(what="One sentence about you")
    async def remember(interaction: discord.Interaction, what: str) -> None:
        await commanded(interaction, "remember", what)

    @tree.command(name="again", description=COMMANDS["again"])
    async def again(interaction: discord.Interaction) -> None:
        await commanded(interaction, "again", "")

    @tree.command(name="reset", description=COMMANDS["reset"])
    async def reset(interaction: discord.Interaction) -> None:
        await commanded(interaction, "reset", "")

    @tree.command(name="stop", description=COMMANDS["stop"])
    async def stop(interaction: discord.Interaction) -> None:
        await commanded(interaction, "stop", "")


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
