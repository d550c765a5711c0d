"""Message menus on Discord: a person picks somebody's message and what to do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands

from adapters.chat.discord_chains import Chains, is_thread, key_of, lane_of
from adapters.chat.discord_commands import CALL_TIMEOUT_S, defer, tell
from adapters.chat.discord_events import attachment_of, author_of
from adapters.chat.discord_intake import LOST, Intake
from adapters.chat.discord_posts import quote_of
from adapters.chat.discord_spots import spot
from adapters.chat.safe_text import sound
from adapters.chat.sentences import mark, say
from adapters.chat.shortcuts import (
    DESCRIBE_IT,
    EMPTY,
    EXCUSES,
    FAILED,
    GONE,
    MOST_QUOTES,
    NO_IMAGE,
    NO_THREAD,
    SHORTCUTS,
    SUMMARISE_IT,
    ShortcutKind,
)
from adapters.chat.types import Attachment, Inbox, Message

if TYPE_CHECKING:
    from adapters.chat.discord_sdk import Client
    from adapters.chat.discord_wire import SdkWire

ANSWERED_THERE = mark("I answer under that message.")
MODAL = "firstline:ask_about:"
_QUESTION_CHARS = 3000
_EVER = datetime.fromtimestamp(discord.utils.DISCORD_EPOCH / 1000, UTC)
_A_MOMENT = timedelta(milliseconds=1)  # what was said at `since` is not in a history
Picked = Callable[[discord.Interaction, ShortcutKind, discord.Message], Awaitable[None]]


def add_menus(tree: app_commands.CommandTree[Any], picked: Picked) -> None:
    """At most five of a kind (docs.discord.com, application commands)."""
    for each in SHORTCUTS:
        tree.add_command(_menu(each.kind, each.name, picked))


def _menu(kind: ShortcutKind, name: str, picked: Picked) -> app_commands.ContextMenu:
    async def run(interaction: discord.Interaction, message: discord.Message) -> None:
        await picked(interaction, kind, message)

    return app_commands.ContextMenu(name=name, callback=run)


class Menus:
    """What comes of each goes through the inbox, like any question, under an id of its own."""

    def __init__(
        self,
        inbox: Inbox,
        *,
        adapter: str,
        chains: Chains,
        intake: Intake,
        wire: SdkWire,
        client: Callable[[], Client | None],
    ) -> None:
        self._inbox, self._name, self._chains = inbox, adapter, chains
        self._intake, self._wire, self._client = intake, wire, client

    async def picked(
        self, interaction: discord.Interaction, kind: ShortcutKind, message: discord.Message
    ) -> None:
        """Acknowledged within 3 s: with a modal, or with a sentence that comes in private."""
        with self._wire.answering(interaction.channel_id):
            if kind == "ask_about":
                await _show(interaction, message)
                return
            await defer(interaction)
            told = await (self._describe if kind == "describe" else self._summarise)(
                interaction, message
            )
            await tell(interaction, say(str(interaction.locale), told))

    async def sent(self, interaction: discord.Interaction) -> None:
        """A modal was sent; the message is quoted as it reads now."""
        data: dict[str, Any] = dict(interaction.data or {})
        custom_id = str(data.get("custom_id", ""))
        if not custom_id.startswith(MODAL) or interaction.channel is None:
            return
        message_id = custom_id.removeprefix(MODAL)
        with self._wire.answering(interaction.channel_id):
            await defer(interaction)
            told = GONE
            client = self._client()
            if client is not None and message_id.isdecimal():
                message = await client.lookup(interaction.channel.id, int(message_id))
                if message is not None:
                    told = await self._ask(interaction, message, sound(_typed(data)).strip())
            await tell(interaction, say(str(interaction.locale), told))

    async def _describe(self, interaction: discord.Interaction, message: discord.Message) -> str:
        files = [attachment_of(file, message) for file in message.attachments]
        images = [each for each in files if each.media_type.startswith("image/")]
        if not images:
            return NO_IMAGE
        return await self._accept(interaction, message, DESCRIBE_IT, files=images)

    async def _summarise(self, interaction: discord.Interaction, message: discord.Message) -> str:
        """In a plain channel, which has no threads: what was said from the message on."""
        client = self._client()
        begin = _EVER if is_thread(message.channel) else message.created_at - _A_MOMENT
        if client is None:
            return FAILED
        found = await client.history(message.channel, since=begin, limit=MOST_QUOTES)
        if found is None:
            return FAILED
        first = 0 if begin is _EVER else message.id
        said = [each for each in reversed(found) if each.id >= first]
        if not said:
            return NO_THREAD
        return await self._accept(interaction, message, SUMMARISE_IT, quoted=said)

    async def _ask(
        self, interaction: discord.Interaction, message: discord.Message, question: str
    ) -> str:
        if not question:
            return EMPTY
        files = [attachment_of(file, message) for file in message.attachments]
        return await self._accept(interaction, message, question, files=files, quoted=[message])

    async def _accept(
        self,
        interaction: discord.Interaction,
        message: discord.Message,
        text: str,
        *,
        files: Sequence[Attachment] = (),
        quoted: Sequence[discord.Message] = (),
    ) -> str:
        channel: Any = interaction.channel  # that of a message read anew tells little
        key = key_of(channel, interaction.guild, str(message.id))
        if is_thread(channel):
            self._chains.joined(channel.id)
        said = Message(
            event_id=str(interaction.id),
            adapter=self._name,
            conversation=key,
            author=author_of(interaction),
            text=text,
            sent_at=interaction.created_at.timestamp(),
            message_id=spot(channel.id, message.id),
            addressing="command",
            attachments=tuple(files),
            quotes=tuple(quote_of(each) for each in quoted),
            locale=str(interaction.locale),
        )
        excuse: str | None = None

        async def pass_on() -> None:
            nonlocal excuse
            excuse = EXCUSES.get(await self._inbox.accept(said))

        place = (interaction.guild_id, lane_of(channel))
        if not await self._intake.in_turn(place, said.event_id, pass_on):
            return LOST
        return excuse or ANSWERED_THERE


async def _show(interaction: discord.Interaction, message: discord.Message) -> None:
    """Nothing is kept of the modal: what is sent names its message, in any process."""
    modal = discord.ui.Modal(title="Ask about this", custom_id=f"{MODAL}{message.id}")
    field: discord.ui.TextInput[Any] = discord.ui.TextInput(
        style=discord.TextStyle.paragraph, max_length=_QUESTION_CHARS
    )
    modal.add_item(discord.ui.Label(text="Your question", component=field))
    async with asyncio.timeout(CALL_TIMEOUT_S):
        await interaction.response.send_modal(modal)


def _typed(data: Any) -> str:
    """The first text of a modal, wherever its layout puts it."""
    if isinstance(data, dict):
        if isinstance(data.get("value"), str):
            return str(data["value"])
        data = [data.get("component"), *(data.get("components") or ())]
    if not isinstance(data, list):
        return ""
    return next((found for each in data if (found := _typed(each))), "")
