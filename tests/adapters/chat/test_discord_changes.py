"""What people change on Discord: edits, deletions, buttons, an outage; real discord.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from adapters.chat.discord import DiscordAdapter
from adapters.chat.types import Offers
from bot.testing.discord import DiscordTwin
from tests.contracts.chat import RecordingInbox
from tools.identity import tenant_of


@asynccontextmanager
async def running(
    discord: DiscordTwin,
    inbox: RecordingInbox,
    *,
    until: Callable[[], Awaitable[object]] | None = None,
    **options: object,
) -> AsyncIterator[DiscordAdapter]:
    """The adapter from when it is ready, or `until` came back."""
    adapter = DiscordAdapter(
        token=discord.token,
        api_url=discord.api_url,
        gateway_url=discord.gateway_url,
        first_backoff_s=0.1,
        **options,  # type: ignore[arg-type]
    )
    task = asyncio.create_task(adapter.run(inbox))
    try:
        await (until() if until else discord.wait_for(lambda: adapter.connected))
        yield adapter
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_an_edit_is_told_with_the_whole_message_and_a_preview_is_not() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, running(discord, inbox):
        said = await discord.say(discord.alice, discord.general, "helo", mention_bot=True)
        await inbox.next()
        await discord.unfurl(said)
        await discord.edit(said, f"{discord.bot.mention} hello")
        await discord.wait_for(lambda: inbox.revised)
        await discord.edit(said, "hello, everybody else")
        await discord.wait_for(lambda: len(inbox.revised) == 2)

    texts = [(message.event_id, message.text) for message, _ in inbox.revised]
    assert texts == [(said, "hello"), (said, "hello, everybody else")]


async def test_deletions_are_told_one_by_one_and_many_at_once() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, running(discord, inbox):
        said = [await discord.say(discord.alice, discord.general, "x") for _ in range(3)]
        direct = await discord.say(discord.alice, discord.dm, "y")
        await discord.take_away(said[0])
        await discord.take_away(said[1], said[2])
        await discord.take_away(direct)
        await discord.wait_for(lambda: len(inbox.retracted) == 4)
        guild = tenant_of("discord", str(discord.world.guild_id))

    assert sorted(inbox.retracted) == sorted(
        [("discord", guild, each) for each in said]
        + [("discord", tenant_of("discord", "dm"), direct)]
    )


async def test_what_the_store_could_not_take_is_offered_again() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, running(discord, inbox):
        said = await discord.say(discord.alice, discord.dm, "first")
        await inbox.next()
        inbox.down = True
        await discord.edit(said, "second")
        await discord.take_away(said)
        await asyncio.sleep(0.3)
        inbox.down = False
        await discord.wait_for(lambda: inbox.retracted, 15)

    assert [message.text for message, _ in inbox.revised] == ["second"], "and in their order"


async def test_an_answer_can_be_rated_and_a_press_says_how() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, running(discord, inbox) as adapter:
        await discord.say(discord.alice, discord.general, "hello", mention_bot=True)
        message = await inbox.next()
        reply = adapter.reply(message)
        shown = await reply.open(None)
        await reply.deliver(0, "Done.", token="t", offers=Offers(rating=True))
        await discord.press(discord.alice, shown, "up")
        await discord.wait_for(lambda: inbox.presses)
        await reply.aclose()

        kinds = [each.split(":")[1] for each in discord.message(shown).buttons]
        assert kinds == ["up", "down"]
        assert (inbox.presses[0].kind, inbox.presses[0].event_id) == ("up", message.event_id)


async def test_the_stop_button_stands_under_a_running_reply_only() -> None:
    inbox = RecordingInbox()
    inbox.pressed = "Only who asked can do that."
    async with DiscordTwin() as discord, running(discord, inbox) as adapter:
        said = await discord.say(discord.alice, discord.general, "tell me", mention_bot=True)
        reply = adapter.reply(await inbox.next())
        shown = await reply.open(None)
        pressed = await discord.press(discord.bob, shown, "stop")
        told = await discord.wait_for(lambda: discord.answer_to(pressed))
        await reply.deliver(0, "Done.", token="t0")
        await reply.aclose()

        (press,) = inbox.presses
        assert (press.kind, press.event_id, press.adapter) == ("stop", said, "discord")
        assert press.channel == str(discord.general.id)
        assert press.author.user_id == str(discord.bob.id)
        assert (told.content, told.ephemeral) == (inbox.pressed, True)
        assert discord.message(shown).buttons == []


async def test_a_placeholder_that_nobody_knows_of_is_adopted() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, running(discord, inbox) as adapter:
        await discord.say(discord.alice, discord.general, "tell me", mention_bot=True)
        message = await inbox.next()
        killed = adapter.reply(message)
        shown = await killed.open(None)
        await killed.aclose()
        discord.rest.nonces.clear()  # Discord forgets them after minutes

        successor = adapter.reply(message)
        assert await successor.open(None, again=True) == shown
        await successor.deliver(0, "Here it is.", token="t0")
        await successor.aclose()

        assert [each.content for each in discord.posted(discord.general)] == ["Here it is."]


async def test_a_reply_is_taken_back_whole_and_again_without_complaint() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, running(discord, inbox) as adapter:
        await discord.say(discord.alice, discord.general, "tell me", mention_bot=True)
        message = await inbox.next()
        reply = adapter.reply(message)
        await reply.open(None)
        ids = [await reply.deliver(n, f"part {n}", token=f"t{n}") for n in range(3)]
        await reply.aclose()
        await adapter.remove(message.conversation, ids)
        await adapter.remove(message.conversation, ids)

        assert discord.posted(discord.general) == []


async def test_replies_go_out_without_the_gateway() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord:
        async with running(discord, inbox):
            await discord.say(discord.alice, discord.general, "tell me", mention_bot=True)
            message = await inbox.next()
        identified = discord.gateway.counts["identify"]
        worker = DiscordAdapter(token=discord.token, api_url=discord.api_url)
        task = asyncio.create_task(worker.answer_only())
        reply = worker.reply(message)
        await reply.open(None)
        assert worker.connected
        await reply.deliver(0, "From a worker.", token="t0")
        await reply.aclose()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert [each.content for each in discord.posted(discord.general)] == ["From a worker."]
        assert discord.gateway.counts["identify"] == identified
        assert not worker.connected


async def test_a_deleted_thread_or_channel_takes_what_was_said_in_it_along() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, running(discord, inbox):
        thread = await discord.start_thread(discord.general, discord.alice)
        in_thread = await discord.say(discord.alice, thread, "one", mention_bot=True)
        above = await discord.say(discord.alice, discord.general, "two", mention_bot=True)
        elsewhere = await discord.say(discord.alice, discord.staff, "three", mention_bot=True)
        for _ in range(3):
            await inbox.next()
        await discord.delete_channel(thread)
        await discord.wait_for(lambda: inbox.retracted)
        told = [event_id for _, _, event_id in inbox.retracted]
        assert told == [in_thread]
        await discord.delete_channel(discord.general)
        await discord.wait_for(lambda: len(inbox.retracted) >= 3)

    told = [event_id for _, _, event_id in inbox.retracted]
    assert above in told
    assert elsewhere not in told


async def test_a_deleted_echo_of_a_slash_command_takes_its_question_along() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, running(discord, inbox):
        await discord.wait_for(lambda: discord.world.commands)
        asked = await discord.command(discord.alice, discord.general, "ask", {"question": "why"})
        assert (await inbox.next()).event_id == asked
        echo = await discord.wait_for(lambda: discord.posted(discord.general))
        await discord.take_away(str(echo[0].id))
        await discord.wait_for(lambda: inbox.retracted)

    assert [event_id for _, _, event_id in inbox.retracted] == [asked]


async def test_a_preview_after_an_edit_is_no_second_edit() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, running(discord, inbox):
        said = await discord.say(discord.alice, discord.dm, "see")
        await inbox.next()
        await discord.edit(said, "see https://example.com")
        await discord.unfurl(said)
        await discord.edit(said, "see there")
        await discord.wait_for(lambda: len(inbox.revised) >= 2)
        await asyncio.sleep(0.1)

    texts = [message.text for message, _ in inbox.revised]
    assert texts == ["see https://example.com", "see there"]
