"""What the Discord adapter says: streaming, parts, limits, slash commands, files."""

from __future__ import annotations

import asyncio

import pytest

from adapters.chat.discord import DiscordAdapter
from adapters.chat.splitting import split_markdown
from adapters.chat.types import (
    Activity,
    Attachment,
    AttachmentError,
    DeliveryError,
    Draft,
    Message,
    Receipt,
)
from bot.testing.discord import DiscordTwin
from tests.adapters.chat.test_discord import RecordingInbox, connected


async def asked(discord: DiscordTwin, inbox: RecordingInbox) -> Message:
    """One mention in the general channel, as the adapter passed it on."""
    await discord.say(discord.alice, discord.general, "tell me", mention_bot=True)
    await inbox.hears(1)
    return inbox.messages[0]


async def test_a_streamed_reply_stays_under_the_limit_and_ends_whole() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        message = await asked(discord, inbox)
        reply = adapter.reply(message)
        placeholder = await reply.open(None)
        text = ""
        for number in range(300):  # 1.5 s at 200 words a second
            text += f"word{number} "
            reply.show(Draft(text))
            await asyncio.sleep(0.005)
        assert discord.message(placeholder).content.startswith("word0 "), "shown while it grows"
        started = asyncio.get_running_loop().time()
        assert await reply.deliver(0, text[:1900], token="t0") == placeholder
        assert asyncio.get_running_loop().time() - started < 1.0, "a slot is kept for the end"
        await reply.aclose()

        posted = discord.posted(discord.general)[0]
        assert (str(posted.id), posted.content) == (placeholder, text[:1900].rstrip())
        assert str(posted.reply_to) == message.event_id
        assert discord.gate.refused[429, 0] == 0
        assert 2 <= len(posted.edits) <= 4
        assert discord.rest.typing == [discord.general.id]


async def test_a_reply_pings_nobody_and_shows_no_link_previews() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        reply = adapter.reply(await asked(discord, inbox))
        placeholder = await reply.open(None)
        created = discord.message(placeholder).allowed_mentions
        await reply.deliver(0, "@everyone https://example.org", token="t0")
        await reply.aclose()
        posted = discord.message(placeholder)

        for allowed in (created, posted.allowed_mentions):
            assert allowed is not None
            assert allowed["parse"] == []
            assert not allowed.get("replied_user")
        assert posted.flags & 4


async def test_a_long_answer_arrives_in_parts_in_order() -> None:
    inbox = RecordingInbox()
    answer = " ".join(f"word{number}" for number in range(1200))[:9000]
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        reply = adapter.reply(await asked(discord, inbox))
        await reply.open(None)
        reply.show(Draft(answer))  # a preview is clipped, never split
        await asyncio.sleep(0.2)
        parts = split_markdown(answer, adapter.limits.part_chars)
        for index, part in enumerate(parts):
            await reply.deliver(index, part, token=f"part{index}")
        await reply.aclose()

        assert len(parts) == 5
        assert [p.content for p in discord.posted(discord.general)] == parts
        assert discord.gate.refused[400, 50035] == 0


async def test_a_part_sent_twice_is_posted_once() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        reply = adapter.reply(await asked(discord, inbox))
        await reply.open(None)
        first = await reply.deliver(1, "part two", token="turn1:1")
        assert await reply.deliver(1, "part two", token="turn1:1") == first
        await reply.aclose()

        assert [p.content for p in discord.posted(discord.general)] == ["…", "part two"]


async def test_a_placeholder_of_an_earlier_process_is_adopted() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        message = await asked(discord, inbox)
        before = adapter.reply(message)
        placeholder = await before.open(None)
        await before.aclose()
        after = adapter.reply(message)
        assert await after.open(placeholder) == placeholder
        await after.deliver(0, "done", token="t0")
        await after.aclose()

        assert [p.content for p in discord.posted(discord.general)] == ["done"]


async def test_without_text_the_running_step_is_shown_in_one_line() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        reply = adapter.reply(await asked(discord, inbox))
        placeholder = await reply.open(None)
        steps = (Activity("clock", "done"), Activity("look", "running"))
        reply.show(Draft(activities=steps))
        await discord.wait_for(lambda: discord.message(placeholder).content == "look …")
        reply.show(Draft(status="Reading\nthe image", activities=steps))
        await discord.wait_for(lambda: discord.message(placeholder).content == "Reading the image")
        await reply.aclose()


async def test_a_rate_limit_is_waited_out_and_the_final_text_still_arrives() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        reply = adapter.reply(await asked(discord, inbox))
        placeholder = await reply.open(None)
        discord.refuse("PATCH", "/messages/", 429, body={"retry_after": 0.7})
        loop = asyncio.get_running_loop()
        started = loop.time()
        await reply.deliver(0, "after the wait", token="t0")
        await reply.aclose()

        assert loop.time() - started >= 0.7
        assert discord.message(placeholder).content == "after the wait"
        calls = [path for _, method, path in discord.gate.calls if method == "PATCH"]
        assert len(calls) == 2


async def test_an_answer_whose_placeholder_was_deleted_is_posted_anew() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        reply = adapter.reply(await asked(discord, inbox))
        placeholder = await reply.open(None)
        discord.delete(placeholder)
        posted = await reply.deliver(0, "the answer", token="t0")
        await reply.aclose()

        after = adapter.reply(inbox.messages[0])  # died before it wrote the new id down
        await after.open(placeholder)
        assert await after.deliver(0, "the answer", token="t0") == posted
        await after.aclose()

        assert discord.message(posted).content == "the answer"
        assert len(discord.posted(discord.general)) == 1


async def test_an_answer_whose_channel_was_deleted_is_given_up() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        reply = adapter.reply(await asked(discord, inbox))
        await reply.open(None)
        discord.refuse("PATCH", "/messages/", 404, body={"message": "gone", "code": 10003})
        with pytest.raises(DeliveryError, match="code 10003") as refused:
            await reply.deliver(0, "the answer", token="t0")
        await reply.aclose()

        assert not refused.value.retryable


async def test_a_reply_in_a_thread_stays_in_the_thread() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        thread = await discord.start_thread(discord.general, discord.alice)
        await discord.say(discord.alice, thread, "here", mention_bot=True)
        await inbox.hears(1)
        reply = adapter.reply(inbox.messages[0])
        await reply.open(None)
        await reply.aclose()

        assert len(discord.posted(thread)) == 1
        assert discord.posted(discord.general) == []


async def test_ask_is_echoed_for_all_and_answered_like_a_message() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        asked_id = await discord.command(
            discord.alice, discord.general, "ask", {"question": "why?"}
        )
        await inbox.hears(1)
        message = inbox.messages[0]
        echo = discord.answer_to(asked_id)
        assert echo is not None
        reply = adapter.reply(message)
        await reply.open(None)
        await reply.deliver(0, "because", token="t0")
        await reply.aclose()
        await discord.say(
            discord.bob,
            discord.general,
            "sure?",
            reply_to=str(discord.posted(discord.general)[1].id),
        )
        await inbox.hears(2)

        assert (message.event_id, message.text, message.addressing) == (asked_id, "why?", "command")
        assert not echo.ephemeral
        assert "why?" in echo.content
        assert discord.posted(discord.general)[1].reply_to == echo.id
        assert inbox.messages[1].conversation == message.conversation


@pytest.mark.parametrize(
    ("answer", "told"), [(Receipt.DENIED, "may not answer"), (Receipt.FULL, "Too many questions")]
)
async def test_a_question_that_is_not_taken_says_why_and_is_not_left_standing(
    answer: Receipt, told: str
) -> None:
    inbox = RecordingInbox()
    inbox.answer = answer
    async with DiscordTwin() as discord, connected(discord, inbox):
        question = {"question": "say something rude"}
        asked_id = await discord.command(discord.bob, discord.general, "ask", question)
        await discord.wait_for(
            lambda: (echo := discord.answer_to(asked_id)) and told in echo.content
        )


async def test_model_and_reset_are_answered_in_private() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        for name, options, told in (
            ("model", {"route": "cloud"}, "model: cloud"),
            ("model", {}, "model: all"),
            ("reset", {}, "reset: all"),
        ):
            used = await discord.command(discord.alice, discord.general, name, options)
            answer = await discord.wait_for(lambda used=used: discord.answer_to(used))  # type: ignore[misc]

            assert (answer.content, answer.ephemeral) == (told, True)
        assert inbox.commands[0].author.user_id == str(discord.alice.id)
        assert inbox.commands[0].conversation.channel == str(discord.general.id)


async def test_a_file_over_the_limit_is_refused_with_the_limit() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        await discord.say(discord.alice, discord.dm, "see", files=[("big.png", b"x" * 300_000)])
        await inbox.hears(1)
        big = inbox.messages[0].attachments[0]
        lying = Attachment(big.attachment_id, "big.png", "image/png", 10, big.locator)
        for file in (big, lying):
            with pytest.raises(AttachmentError, match=r"“big.png” has .* the limit is 0.0954 MB"):
                await adapter.fetch(file, max_bytes=100_000)


@pytest.mark.parametrize(
    "locator",
    [
        "https://example.org/x.png",
        "http://cdn.discordapp.com/x.png",
        "https://cdn.discordapp.com.example.org/x.png",
        "https://cdn.discordapp.com@example.org/x.png",
        "file:///etc/passwd",
    ],
)
async def test_files_from_other_hosts_are_not_opened(locator: str) -> None:
    adapter = DiscordAdapter(token="t")
    with pytest.raises(AttachmentError, match="does not lie on Discord"):
        await adapter.fetch(Attachment("1", "x.png", "image/png", 1, locator), max_bytes=10)
