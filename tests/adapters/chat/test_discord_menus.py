"""What a person can do with somebody's message on Discord; real discord.py."""

from __future__ import annotations

import pytest

from adapters.chat.discord_menus import ANSWERED_THERE
from adapters.chat.shortcuts import DESCRIBE_IT, GONE, NO_IMAGE, NOT_TAKEN, SHORTCUTS, SUMMARISE_IT
from adapters.chat.types import Receipt
from bot.testing.discord import DiscordTwin
from bot.testing.discord.interactions import Interaction
from bot.testing.discord.world import Posted
from tests.adapters.chat.test_discord import RecordingInbox, connected

PICTURE = ("cat.png", b"\x89PNG")
DESCRIBE, SUMMARISE, ASK = (each.name for each in SHORTCUTS)


async def told(discord: DiscordTwin, asked: Interaction) -> str:
    """What the person is told in private."""
    posted: Posted = await discord.wait_for(lambda: asked.original)
    assert posted.ephemeral
    return posted.content


async def test_the_three_menus_are_registered_beside_the_commands() -> None:
    async with DiscordTwin() as discord, connected(discord, RecordingInbox()):
        await discord.wait_for(lambda: discord.world.commands)
        menus = {each["name"] for each in discord.world.commands if each["type"] == 3}

        assert menus == {DESCRIBE, SUMMARISE, ASK}


async def test_describe_asks_about_the_images_of_the_message() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        await discord.wait_for(lambda: discord.world.commands)
        message_id = await discord.say(discord.bob, discord.general, "look", files=[PICTURE])
        posted = discord.message(message_id)
        asked = await discord.interactions.pick(discord.alice, posted, DESCRIBE)
        assert await told(discord, asked) == ANSWERED_THERE
        [message] = inbox.messages
        reply = adapter.reply(message)
        await reply.open(None)
        await reply.deliver(0, "A cat.", token="t0")
        await reply.aclose()

        assert (message.text, message.author.user_id) == (DESCRIBE_IT, str(discord.alice.id))
        assert [each.name for each in message.attachments] == ["cat.png"]
        answer = discord.posted(discord.general)[-1]
        assert (answer.content, str(answer.reply_to)) == ("A cat.", message_id)


async def test_without_an_image_nothing_is_asked() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.wait_for(lambda: discord.world.commands)
        posted = discord.message(await discord.say(discord.bob, discord.general, "no picture"))
        asked = await discord.interactions.pick(discord.alice, posted, DESCRIBE)
        assert await told(discord, asked) == NO_IMAGE

    assert inbox.messages == []


async def test_summarise_quotes_a_thread_oldest_first() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.wait_for(lambda: discord.world.commands)
        thread = await discord.start_thread(discord.general, discord.bob)
        for number in range(3):
            last = await discord.say(discord.bob, thread, f"number {number}")
        asked = await discord.interactions.pick(discord.alice, discord.message(last), SUMMARISE)
        await told(discord, asked)
        [message] = inbox.messages

        assert message.text == SUMMARISE_IT
        assert [each.text for each in message.quotes] == ["number 0", "number 1", "number 2"]
        assert message.conversation.thread == str(thread.id)


async def test_summarise_in_a_channel_begins_at_the_message() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.wait_for(lambda: discord.world.commands)
        said = [await discord.say(discord.bob, discord.general, f"n{n}") for n in range(4)]
        picked = discord.message(said[2])
        await told(discord, await discord.interactions.pick(discord.alice, picked, SUMMARISE))

        assert [each.text for each in inbox.messages[0].quotes] == ["n2", "n3"]


async def test_ask_shows_a_modal_whose_question_quotes_the_message_as_it_reads_then() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.wait_for(lambda: discord.world.commands)
        message_id = await discord.say(discord.bob, discord.general, "the old text")
        asked = await discord.interactions.pick(discord.alice, discord.message(message_id), ASK)
        await discord.wait_for(lambda: asked.modal)
        posted = discord.message(message_id)
        discord.rest.rewrite(posted, {"content": "the new text"})  # and the bot is not told
        sent = await discord.interactions.send(discord.alice, asked, " Is that so? ")
        assert await told(discord, sent) == ANSWERED_THERE
        [message] = inbox.messages

        assert message.text == "Is that so?"
        assert [(each.user_id, each.text) for each in message.quotes] == [
            (str(discord.bob.id), "the new text")
        ]


async def test_a_modal_sent_to_another_process_than_showed_it_is_answered() -> None:
    first, second = RecordingInbox(), RecordingInbox()
    async with DiscordTwin() as discord:
        async with connected(discord, first):
            await discord.wait_for(lambda: discord.world.commands)
            message_id = await discord.say(discord.bob, discord.general, "text")
            posted = discord.message(message_id)
            asked = await discord.interactions.pick(discord.alice, posted, ASK)
            await discord.wait_for(lambda: asked.modal)
        discord.gateway.sessions.clear()
        async with connected(discord, second):
            await discord.interactions.send(discord.alice, asked, "Well?")
            await second.hears(1)

    assert first.messages == []
    assert second.texts == ["Well?"]


async def test_a_message_that_is_gone_by_then_is_told() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.wait_for(lambda: discord.world.commands)
        message_id = await discord.say(discord.bob, discord.general, "text")
        asked = await discord.interactions.pick(discord.alice, discord.message(message_id), ASK)
        await discord.wait_for(lambda: asked.modal)
        discord.delete(message_id)
        sent = await discord.interactions.send(discord.alice, asked, "Well?")
        assert await told(discord, sent) == GONE

    assert inbox.messages == []


async def test_who_may_not_ask_is_told_so_in_private() -> None:
    inbox = RecordingInbox()
    inbox.answer = Receipt.DENIED
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.wait_for(lambda: discord.world.commands)
        message_id = await discord.say(discord.bob, discord.general, "look", files=[PICTURE])
        posted = discord.message(message_id)
        asked = await discord.interactions.pick(discord.alice, posted, DESCRIBE)
        assert await told(discord, asked) == NOT_TAKEN


@pytest.mark.parametrize("locale", ["de", "fr", "ja"])
async def test_the_private_sentence_is_in_the_persons_language(locale: str) -> None:
    async with DiscordTwin() as discord, connected(discord, RecordingInbox()):
        await discord.wait_for(lambda: discord.world.commands)
        discord.interactions.locale = locale
        posted = discord.message(await discord.say(discord.bob, discord.general, "no picture"))
        asked = await discord.interactions.pick(discord.alice, posted, DESCRIBE)
        assert await told(discord, asked) not in ("", NO_IMAGE)
