"""Commands and buttons on Discord: acknowledged within the 3 s it waits, then handed on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from adapters.chat.discord_buttons import Button
from adapters.chat.discord_chains import Chains, key_of, lane_of
from adapters.chat.discord_commands import acknowledge, defer, echo, tell, whisper
from adapters.chat.discord_events import Place, author_of, tenant_in
from adapters.chat.discord_intake import LOST, Intake
from adapters.chat.discord_spots import spot
from adapters.chat.safe_text import sound
from adapters.chat.sentences import mark, say
from adapters.chat.shortcuts import FAILED
from adapters.chat.splitting import clip
from adapters.chat.types import Command, Inbox, Message, NotAccepted, Press, Receipt

if TYPE_CHECKING:
    import discord

    from adapters.chat.discord_wire import SdkWire

DENIED = mark("I may not answer this person here.")
FULL = mark("Too many questions wait here already. Please ask this one again later.")
EXCUSES = {Receipt.DENIED: DENIED, Receipt.FULL: FULL}  # for who sees an echo of the question


class Interactions:
    """What a person does other than saying something. A refused answer ends here: Discord
    itself tells its author."""

    def __init__(
        self,
        inbox: Inbox,
        *,
        adapter: str,
        chains: Chains,
        intake: Intake,
        wire: SdkWire,
        accept_within_s: float,
    ) -> None:
        self._inbox, self._name, self._chains, self._wire = inbox, adapter, chains, wire
        self._intake, self._accept_within_s = intake, accept_within_s

    async def asked(self, interaction: discord.Interaction, question: str) -> None:
        """`/ask`: echo the question where all can see it, and go on as with a message."""
        channel = interaction.channel
        if channel is None:
            return
        question = sound(question.strip())
        shown = clip(f"<@{interaction.user.id}> asks: {question}", 2000)
        message_id = None
        with self._wire.answering(channel.id):
            message_id = await echo(interaction, shown)
        if message_id is None:
            return
        key = key_of(channel, interaction.guild, str(message_id))
        self._chains.posted(str(message_id), key)
        if interaction.guild is not None and key.thread == str(channel.id):
            self._chains.joined(channel.id)
        said = Message(
            event_id=str(interaction.id),
            adapter=self._name,
            conversation=key,
            author=author_of(interaction),
            text=question,
            sent_at=interaction.created_at.timestamp(),
            message_id=spot(
                channel.id,
                message_id,
                own_thread=self._chains.begins_thread(channel, interaction.guild),
            ),
            addressing="command",
            locale=str(interaction.locale),
        )
        place = (interaction.guild_id, lane_of(channel))
        work = self._pass_on_asked(interaction, said, place)
        self._intake.spawn(work, f"discord ask {interaction.id}", event_id=said.event_id)

    async def _pass_on_asked(
        self, interaction: discord.Interaction, said: Message, place: Place
    ) -> None:
        excuse: str | None = None

        async def pass_on() -> None:
            nonlocal excuse
            excuse = EXCUSES.get(await self._inbox.accept(said))
            self._intake.heard.add(said)

        if not await self._intake.in_turn(place, said.event_id, pass_on):
            excuse = LOST
        if excuse is not None:
            # In the place of the echo: that shows a stranger's words.
            with self._wire.answering(interaction.channel_id):
                await tell(interaction, say(said.locale, excuse))

    async def pressed(self, interaction: discord.Interaction, button: Button) -> None:
        """Acknowledged first; a sentence comes in private, and only when there is one."""
        with self._wire.answering(interaction.channel_id):
            await acknowledge(interaction)
        if interaction.channel is None:
            return
        press = Press(
            button.kind,
            button.event_id,
            self._name,
            tenant_in(interaction.guild_id),
            str(interaction.channel.id),
            author_of(interaction),
            str(interaction.locale),
        )
        try:
            async with asyncio.timeout(self._accept_within_s):
                sentence = await self._inbox.press(press)
        except (NotAccepted, TimeoutError):
            sentence = say(press.locale, FAILED)
        if sentence:
            with self._wire.answering(interaction.channel_id):
                await whisper(interaction, clip(sentence, 2000))

    async def commanded(self, interaction: discord.Interaction, name: str, argument: str) -> None:
        """Answered in private; acknowledged first, because Discord waits for 3 s only."""
        with self._wire.answering(interaction.channel_id):
            await defer(interaction)
        if interaction.channel is None:
            return
        conversation = key_of(interaction.channel, interaction.guild, None)
        author, locale = author_of(interaction), str(interaction.locale)
        said = sound(argument.strip())
        command = Command(name, said, self._name, conversation, author, locale)
        try:
            async with asyncio.timeout(self._accept_within_s):
                answer = await self._inbox.command(command)
        except (NotAccepted, TimeoutError):
            answer = say(command.locale, FAILED)
        with self._wire.answering(interaction.channel_id):
            await tell(interaction, clip(answer, 2000))
