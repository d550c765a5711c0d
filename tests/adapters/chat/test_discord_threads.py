"""Threads of their own for questions, and posts in forums; real discord.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from adapters.chat.discord import DiscordAdapter
from adapters.chat.types import ChannelRule, DeliveryError, Draft, Message
from bot.testing.discord import DiscordTwin
from tests.adapters.chat.test_discord_changes import running
from tests.contracts.chat import RecordingInbox


@asynccontextmanager
async def with_threads() -> AsyncIterator[tuple[DiscordTwin, RecordingInbox, DiscordAdapter]]:
    inbox = RecordingInbox()
    rule = ChannelRule(reply_in="own_thread")
    async with (
        DiscordTwin() as discord,
        running(discord, inbox, rules=lambda channel: rule) as adapter,
    ):
        yield discord, inbox, adapter


async def answered(adapter: DiscordAdapter, message: Message, text: str = "the answer") -> str:
    reply = adapter.reply(message)
    try:
        placeholder = await reply.open(None)
        reply.show(Draft("the"))
        await reply.deliver(0, text, token="t0")
        await reply.deliver(1, "more", token="t1")
    finally:
        await reply.aclose()
    return placeholder


async def test_a_question_gets_a_thread_of_its_own_where_that_is_wanted() -> None:
    async with with_threads() as (discord, inbox, adapter):
        asked = await discord.say(discord.alice, discord.general, "why  is it?", mention_bot=True)
        message = await inbox.next()
        await answered(adapter, message)
        thread = discord.world.channels[int(asked)]
        assert discord.messages(thread) == ["the answer", "more"]
        assert thread.name == "why is it?"
        assert discord.posted(discord.general) == []
        await discord.say(discord.bob, thread, "and then?")
        follow_up = await inbox.next()
        await answered(adapter, follow_up)

        assert follow_up.conversation == message.conversation
        assert follow_up.addressing == "followup"
        assert discord.posted(discord.general) == []


async def test_a_process_that_comes_after_uses_the_thread_that_is_there() -> None:
    async with with_threads() as (discord, inbox, adapter):
        asked = await discord.say(discord.alice, discord.general, "why?", mention_bot=True)
        message = await inbox.next()
        died = adapter.reply(message)
        placeholder = await died.open(None)
        await died.aclose()
        for known in (placeholder, None):
            reply = adapter.reply(message)
            assert await reply.open(known, again=known is None) == placeholder
            await reply.deliver(0, "the answer", token="t0")
            await reply.aclose()

        thread = discord.world.channels[int(asked)]
        assert discord.messages(thread) == ["the answer"]
        await adapter.remove(message.conversation, [placeholder])
        assert discord.messages(thread) == []


async def test_where_no_thread_may_be_made_the_answer_is_a_reply() -> None:
    async with with_threads() as (discord, inbox, adapter):
        body = {"message": "Missing Permissions", "code": 50013}
        discord.refuse("POST", r"/threads$", 403, body=body, times=9)
        asked = await discord.say(discord.alice, discord.general, "why?", mention_bot=True)
        await answered(adapter, await inbox.next())

        posted = discord.posted(discord.general)
        assert [each.content for each in posted] == ["the answer", "more"]
        assert str(posted[0].reply_to) == asked


@pytest.mark.parametrize("text", ["", "x" * 300, "\u202eabc\n\nd"])
async def test_a_thread_has_a_title_whatever_was_asked(text: str) -> None:
    async with with_threads() as (discord, inbox, adapter):
        asked = await discord.say(discord.alice, discord.general, text, mention_bot=True)
        await answered(adapter, await inbox.next())
        name = discord.world.channels[int(asked)].name

        assert 0 < len(name) <= 100
        assert "\u202e" not in name


async def test_a_question_by_command_gets_its_thread_too() -> None:
    async with with_threads() as (discord, inbox, adapter):
        await discord.wait_for(lambda: discord.world.commands)
        await discord.command(discord.alice, discord.general, "ask", {"question": "why?"})
        message = await inbox.next()
        await answered(adapter, message)

        thread = discord.world.channels[int(str(message.conversation.thread))]
        assert discord.messages(thread) == ["the answer", "more"]


async def test_a_post_in_a_forum_that_mentions_the_bot_is_answered_in_the_post() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord:
        forum = discord.world.add_channel("forum", "help")
        async with running(discord, inbox) as adapter:
            post = discord.world.add_channel("thread", "It breaks", parent=forum, owner=discord.bob)
            await discord.gateway.broadcast("THREAD_CREATE", discord.world.channel_payload(post))
            await discord.say(discord.bob, post, "what now?", mention_bot=True)
            message = await inbox.next()
            await answered(adapter, message)
            await discord.say(discord.bob, post, "thanks, and then?")
            follow_up = await inbox.next()

            assert message.conversation.channel == str(forum.id)
            assert message.conversation == follow_up.conversation
            assert discord.messages(post)[1:3] == ["the answer", "more"]


async def test_a_thread_archived_in_mid_answer_is_opened_again_for_it() -> None:
    async with with_threads() as (discord, inbox, adapter):
        asked = await discord.say(discord.alice, discord.general, "why?", mention_bot=True)
        reply = adapter.reply(await inbox.next())
        await reply.open(None)
        thread = discord.world.channels[int(asked)]
        thread.archived = True
        await reply.deliver(0, "the answer", token="t0")
        await reply.aclose()

        assert discord.messages(thread) == ["the answer"]
        assert not thread.archived


async def test_in_a_locked_thread_nothing_more_is_said_and_nothing_elsewhere() -> None:
    async with with_threads() as (discord, inbox, adapter):
        asked = await discord.say(discord.alice, discord.general, "why?", mention_bot=True)
        reply = adapter.reply(await inbox.next())
        await reply.open(None)
        thread = discord.world.channels[int(asked)]
        thread.archived = thread.locked = True
        with capture_logs() as logs:
            for index in range(2):
                with pytest.raises(DeliveryError) as caught:
                    await reply.deliver(index, f"part {index}", token=f"t{index}")
                assert not caught.value.retryable
        await reply.aclose()

        told = [each for each in logs if each["event"] == "discord.refused"]
        assert len(told) == 1
        assert discord.messages(thread) == ["…"]
        assert discord.posted(discord.general) == []


async def test_a_reply_begun_in_a_thread_never_ends_in_the_open_channel() -> None:
    async with with_threads() as (discord, inbox, adapter):
        await discord.say(discord.alice, discord.general, "why?", mention_bot=True)
        message = await inbox.next()
        died = adapter.reply(message)
        placeholder = await died.open(None)
        await died.aclose()
        body = {"message": "Missing Permissions", "code": 50013}
        discord.refuse("POST", r"/threads$", 403, body=body, times=9)
        reply = adapter.reply(message)
        with pytest.raises(DeliveryError) as caught:
            await reply.open(placeholder)
        await reply.aclose()

        assert not caught.value.retryable
        assert discord.posted(discord.general) == []


async def test_a_question_whose_own_thread_is_deleted_is_given_up() -> None:
    async with with_threads() as (discord, inbox, adapter):
        asked = await discord.say(discord.alice, discord.general, "why?", mention_bot=True)
        reply = adapter.reply(await inbox.next())
        await reply.open(None)
        await discord.delete_channel(discord.world.channels[int(asked)])
        await discord.wait_for(lambda: inbox.retracted)
        with pytest.raises(DeliveryError):
            await reply.deliver(0, "the answer", token="t0")
        await reply.aclose()

        assert [event_id for *_, event_id in inbox.retracted] == [asked]
        assert discord.posted(discord.general) == []


@pytest.mark.parametrize("mentioned", [True, False])
async def test_a_new_post_is_answered_where_all_of_a_forum_are(mentioned: bool) -> None:
    inbox, rule = RecordingInbox(), ChannelRule(answer_posts=not mentioned)
    async with DiscordTwin() as discord:
        forum = discord.world.add_channel("forum", "help")
        async with running(discord, inbox, rules=lambda channel: rule) as adapter:
            post = await discord.open_post(
                forum, discord.bob, "It breaks", "what now?", mention_bot=mentioned
            )
            message = await inbox.next()
            await answered(adapter, message)
            await discord.say(discord.bob, post, "and then?")
            follow_up = await inbox.next()

    assert (message.text, [each.text for each in message.quotes]) == ("what now?", ["It breaks"])
    assert message.conversation == follow_up.conversation
    assert discord.messages(post)[1:3] == ["the answer", "more"]


async def test_a_first_mention_further_down_a_post_brings_what_the_post_is_about() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord:
        forum = discord.world.add_channel("forum", "help")
        async with running(discord, inbox):
            post = await discord.open_post(forum, discord.bob, "It breaks", "Since monday.")
            await discord.say(discord.alice, post, "can you help?", mention_bot=True)
            message = await inbox.next()

    assert message.text == "can you help?"
    assert [each.text for each in message.quotes] == ["It breaks\nSince monday."]
    assert inbox.is_empty
