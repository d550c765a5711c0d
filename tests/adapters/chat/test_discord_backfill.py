"""What was said while no gateway session lived (row C9); real discord.py."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from adapters.chat.discord import DiscordAdapter, Shards
from adapters.chat.types import Message, Receipt
from bot.testing.discord import DiscordTwin
from bot.testing.discord.world import Channel
from tests.adapters.chat.test_discord_changes import running
from tests.contracts.chat import RecordingInbox
from tools.identity import tenant_of


def heard_in(discord: DiscordTwin, *channels: Channel, until: float = 1.0) -> dict[str, float]:
    return {"": until} | {str(channel.id): until for channel in channels}


def two_shards(
    discord: DiscordTwin, inbox: RecordingInbox
) -> AbstractAsyncContextManager[DiscordAdapter]:
    discord.gateway.session_start["max_concurrency"] = 2
    return running(discord, inbox, shards=Shards(2, (0, 1)))


async def test_what_was_said_while_the_bot_was_away_is_heard_once_and_in_order() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord:
        thread = await discord.start_thread(discord.general, discord.alice)
        missed = [
            await discord.say(discord.alice, discord.general, "one", mention_bot=True),
            await discord.say(discord.alice, discord.general, "to others"),
            await discord.say(discord.alice, thread, "two", mention_bot=True),
            await discord.say(discord.alice, discord.general, "three", mention_bot=True),
        ]
        direct = await discord.say(discord.alice, discord.dm, "four")
        await discord.say(discord.other_bot, discord.general, "a bot", mention_bot=True)
        await discord.say(discord.alice, discord.staff, "never spoken to here", mention_bot=True)
        guild = tenant_of("discord", str(discord.world.guild_id))
        inbox.heard_until = {
            guild: heard_in(discord, discord.general),
            tenant_of("discord", "dm"): heard_in(discord, discord.dm),
        }
        async with running(discord, inbox):
            heard = [(await inbox.next()).event_id for _ in range(4)]
            await asyncio.sleep(0.3)

    assert [each for each in heard if each != direct] == [missed[0], missed[2], missed[3]]
    assert direct in heard
    assert inbox.is_empty


async def test_nothing_from_before_the_mark_is_heard_again() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord:
        async with running(discord, inbox):
            await discord.say(discord.alice, discord.general, "!again", mention_bot=True)
            last = await inbox.next()
        inbox = RecordingInbox()
        missed = await discord.say(discord.alice, discord.general, "one", mention_bot=True)
        marks = heard_in(discord, discord.general, until=last.sent_at)
        inbox.heard_until = {last.conversation.tenant: marks}
        async with running(discord, inbox):
            assert (await inbox.next()).event_id == missed
            await asyncio.sleep(0.3)

    assert inbox.is_empty


async def test_what_is_said_now_waits_for_what_was_missed_there() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord:
        guild = tenant_of("discord", str(discord.world.guild_id))
        inbox.heard_until = {guild: heard_in(discord, discord.general)}
        missed = await discord.say(discord.alice, discord.general, "missed", mention_bot=True)
        task = asyncio.create_task(_speak_at_once(discord))
        async with running(discord, inbox):
            heard = [(await inbox.next()).event_id for _ in range(3)]
            live, elsewhere = await task

    assert heard.index(missed) < heard.index(live)
    assert heard[0] == elsewhere, "where the bot was never heard nothing waits"


class Marking(RecordingInbox):
    """Marks what it accepts, and takes a moment to tell."""

    async def accept(self, message: Message) -> Receipt:
        marks = self.heard_until.setdefault(message.conversation.tenant, {})
        marks[message.conversation.channel] = message.sent_at
        return await super().accept(message)

    async def marks(self, tenant: str) -> Mapping[str, float]:
        await asyncio.sleep(0.05)
        return dict(await super().marks(tenant))


async def test_an_edit_does_not_wait_for_a_backfill_that_its_message_did_not_wait_for() -> None:
    inbox = Marking()
    async with (
        DiscordTwin() as discord,
        running(discord, inbox, until=discord.wait_connected) as adapter,
    ):
        said = await discord.say(discord.alice, discord.general, "helo", mention_bot=True)
        await discord.edit(said, f"{discord.bot.mention} hello")
        await inbox.next()
        await discord.wait_for(lambda: inbox.revised)
        was_ready = adapter.connected

    assert not was_ready, "the backfill begins when the session is ready"


async def _speak_at_once(discord: DiscordTwin) -> tuple[str, str]:
    await discord.wait_connected()
    await asyncio.sleep(0.1)  # the session lives, and what was missed is not known yet
    live = await discord.say(discord.alice, discord.general, "now", mention_bot=True)
    return live, await discord.say(discord.alice, discord.dm, "elsewhere")


async def test_the_newest_two_hundred_of_a_channel_are_read_and_a_failing_call_is_repeated() -> (
    None
):
    inbox = RecordingInbox()
    async with DiscordTwin() as discord:
        guild = tenant_of("discord", str(discord.world.guild_id))
        inbox.heard_until = {guild: heard_in(discord, discord.general)}
        for n in range(230):
            await discord.say(discord.alice, discord.general, f"m{n}", mention_bot=True)
        discord.refuse("GET", rf"/channels/{discord.general.id}/messages", 400)
        async with running(discord, inbox):
            first = (await inbox.next()).text
            rest = [(await inbox.next()).text for _ in range(199)]

    assert [first, *rest] == [f"m{n}" for n in range(30, 230)]
    assert inbox.is_empty


async def test_one_shard_that_loses_its_session_fills_its_own_gap() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, two_shards(discord, inbox) as adapter:
        guild = tenant_of("discord", str(discord.world.guild_id))
        inbox.heard_until = {guild: heard_in(discord, discord.general)}
        discord.forget_sessions()
        missed = await discord.say(discord.alice, discord.general, "missed", mention_bot=True)
        await discord.wait_for(lambda: not adapter.connected)
        async with asyncio.timeout(40):
            await discord.wait_for(lambda: adapter.connected, 40)
        assert (await inbox.next()).event_id == missed


async def test_a_first_install_answers_nothing_that_was_said_before() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord:
        await discord.say(discord.alice, discord.general, "old", mention_bot=True)
        async with running(discord, inbox):
            await asyncio.sleep(0.5)

    assert inbox.is_empty
