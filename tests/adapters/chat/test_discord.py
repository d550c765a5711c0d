"""The Discord adapter with the real discord.py, against the wire-level fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.chat.discord import DiscordAdapter
from adapters.chat.types import AdapterError, Command, Inbox, Message, NotAccepted, Receipt
from bot.testing.discord import DiscordTwin
from tests.contracts.chat import NothingChanges
from tools.identity import tenant_of


class RecordingInbox(NothingChanges):
    """Keeps what it accepts; fails as often as told."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.commands: list[Command] = []
        self.failures = 0
        self.answer = Receipt.ACCEPTED

    async def accept(self, message: Message) -> Receipt:
        if self.failures:
            self.failures -= 1
            raise NotAccepted("the store is away")
        self.messages.append(message)
        return self.answer

    async def command(self, command: Command) -> str:
        self.commands.append(command)
        return f"{command.name}: {command.argument or 'all'}"

    async def hears(self, count: int) -> None:
        async with asyncio.timeout(15):
            while len(self.messages) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]


@asynccontextmanager
async def connected(discord: DiscordTwin, inbox: Inbox) -> AsyncIterator[DiscordAdapter]:
    """The adapter, running; its errors surface at the end."""
    adapter = adapter_for(discord)
    running = asyncio.create_task(adapter.run(inbox))
    try:
        await discord.wait_connected()
        yield adapter
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


def adapter_for(discord: DiscordTwin, token: str | None = None) -> DiscordAdapter:
    return DiscordAdapter(
        token=token or discord.token, api_url=discord.api_url, first_backoff_s=0.1
    )


async def test_a_mention_with_an_image_arrives_whole() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        said = await discord.say(
            discord.alice,
            discord.general,
            "what is this?",
            files=[("error.png", b"\x89PNG....")],
            mention_bot=True,
        )
        await discord.wait_for(lambda: inbox.messages)
        message = inbox.messages[0]
        image = message.attachments[0]

        assert message.text == "what is this?"
        assert (message.event_id, message.addressing) == (said, "mention")
        assert message.author.user_id == str(discord.alice.id)
        assert message.conversation.tenant == tenant_of("discord", str(discord.world.guild_id))
        assert message.conversation.place == "public"
        assert message.conversation.channel == str(discord.general.id)
        assert message.conversation.thread == said
        assert (image.name, image.media_type, image.size_bytes) == ("error.png", "image/png", 8)
        assert await adapter.fetch(image, max_bytes=100) == b"\x89PNG...."


async def test_a_direct_message_needs_no_mention() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.say(discord.alice, discord.dm, "hello")
        await discord.wait_for(lambda: inbox.messages)
        key = inbox.messages[0].conversation

        assert inbox.messages[0].addressing == "dm"
        assert (key.tenant, key.place, key.thread) == (tenant_of("discord", "dm"), "dm", None)
        assert key.channel == str(discord.dm.id)


async def test_a_channel_hidden_from_everyone_is_a_private_place() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.say(discord.alice, discord.staff, "hello", mention_bot=True)
        await discord.wait_for(lambda: inbox.messages)

        assert inbox.messages[0].conversation.place == "private"


async def test_replies_to_the_bot_continue_one_conversation() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        await discord.say(discord.alice, discord.general, "one", mention_bot=True)
        await discord.wait_for(lambda: len(inbox.messages) == 1)
        reply = adapter.reply(inbox.messages[0])
        answer = await reply.open(None)
        await reply.deliver(0, "answer", token="t0")
        await reply.aclose()
        await discord.say(discord.bob, discord.general, "two", reply_to=answer)
        await discord.say(discord.bob, discord.general, "three", mention_bot=True)
        await discord.wait_for(lambda: len(inbox.messages) == 3)
        first, second, third = (message.conversation for message in inbox.messages)

        assert second == first
        assert third != first
        assert inbox.messages[1].addressing == "followup"


async def test_a_chain_is_found_again_by_a_process_that_has_just_started() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord:
        async with connected(discord, inbox) as adapter:
            said = await discord.say(discord.alice, discord.general, "one", mention_bot=True)
            await discord.wait_for(lambda: len(inbox.messages) == 1)
            for heard in (2, 3):
                reply = adapter.reply(inbox.messages[-1])
                answer = await reply.open(None)
                await reply.aclose()
                await discord.say(discord.alice, discord.general, "more", reply_to=answer)
                await inbox.hears(heard)
            reply = adapter.reply(inbox.messages[-1])
            answer = await reply.open(None)
            await reply.aclose()
        discord.gateway.sessions.clear()
        async with connected(discord, inbox):
            await discord.say(discord.alice, discord.general, "again", reply_to=answer)
            await discord.wait_for(lambda: len(inbox.messages) == 4)

        assert {message.conversation.thread for message in inbox.messages} == {said}


async def test_a_thread_the_bot_takes_part_in_needs_no_mention() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        thread = await discord.start_thread(discord.general, discord.alice)
        await discord.say(discord.alice, thread, "not for the bot")
        await discord.say(discord.alice, thread, "now", mention_bot=True)
        await discord.say(discord.bob, thread, "and then?")
        await discord.wait_for(lambda: len(inbox.messages) == 2)
        key = inbox.messages[0].conversation

        assert inbox.texts == ["now", "and then?"]
        assert (key.channel, key.thread) == (str(discord.general.id), str(thread.id))
        assert inbox.messages[1].conversation == key


async def test_bots_webhooks_and_people_talking_to_each_other_are_not_passed_on() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.say(discord.other_bot, discord.general, "buy", mention_bot=True)
        await discord.say(discord.webhook, discord.general, "deploy", mention_bot=True)
        first = await discord.say(discord.bob, discord.general, "hi alice")
        await discord.say(discord.alice, discord.general, "hi bob", reply_to=first)
        await discord.say(discord.alice, discord.general, "bot?", mention_bot=True)
        await discord.wait_for(lambda: inbox.messages)
        await asyncio.sleep(0.1)

        assert inbox.texts == ["bot?"]


async def test_what_was_said_while_the_connection_was_down_is_delivered_on_resume() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.say(discord.alice, discord.dm, "before")
        await discord.wait_for(lambda: inbox.messages)
        discord.drop_connections()
        await discord.say(discord.alice, discord.dm, "meanwhile")
        await discord.wait_for(lambda: len(inbox.messages) == 2)

        assert inbox.texts == ["before", "meanwhile"]
        assert discord.gateway.counts["resumed"] == 1
        assert discord.gateway.counts["identify"] == 1


async def test_op_7_makes_the_client_reconnect_and_resume() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.gateway.tell(7)
        await discord.wait_for(lambda: discord.gateway.counts["resumed"])
        await discord.say(discord.alice, discord.dm, "still there?")
        await discord.wait_for(lambda: inbox.messages)


async def test_it_counts_as_connected_while_the_gateway_session_lives() -> None:
    async with DiscordTwin() as discord:
        async with connected(discord, RecordingInbox()) as adapter:
            await discord.wait_for(lambda: adapter.connected)
            discord.drop_connections()
            async with asyncio.timeout(10):
                while adapter.connected:  # noqa: ASYNC110 (it resumes within milliseconds)
                    await asyncio.sleep(0)
            await discord.wait_for(lambda: adapter.connected, 20)  # resumed
        assert not adapter.connected


async def test_a_forgotten_session_is_replaced_by_a_new_one() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        discord.forget_sessions()
        await discord.wait_connected(timeout_s=30)
        await discord.say(discord.alice, discord.dm, "hello again")
        await discord.wait_for(lambda: inbox.messages)

        assert discord.gateway.counts["resume_refused"] == 1
        assert discord.gateway.counts["identify"] == 2


async def test_a_wrong_token_is_one_clear_error() -> None:
    async with DiscordTwin() as discord:
        with pytest.raises(AdapterError, match=r"refused the bot token.*Reset Token") as refused:
            await adapter_for(discord, "wrong-secret").run(RecordingInbox())

    assert "wrong-secret" not in str(refused.value)


async def test_a_token_revoked_while_connected_is_the_same_error() -> None:
    async with DiscordTwin() as discord:
        running = asyncio.create_task(adapter_for(discord).run(RecordingInbox()))
        await discord.wait_connected()
        await discord.gateway.close_all(4004)
        with pytest.raises(AdapterError, match="refused the bot token"):
            await running


async def test_a_missing_intent_names_the_switch() -> None:
    async with DiscordTwin() as discord:
        discord.gateway.content_intent_granted = False
        with pytest.raises(AdapterError, match=r"“Message Content Intent”.*Developer Portal"):
            await adapter_for(discord).run(RecordingInbox())


async def test_an_explicit_null_that_ends_discord_py_does_not_end_the_bot() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.crash_clients()
        await discord.wait_for(lambda: discord.gateway.counts["identify"] == 2, 20)
        await discord.wait_connected()
        await discord.say(discord.alice, discord.dm, "alive?")
        await discord.wait_for(lambda: inbox.messages)


async def test_a_message_the_store_could_not_take_is_offered_again() -> None:
    inbox = RecordingInbox()
    inbox.failures = 2
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.say(discord.alice, discord.dm, "keep me")
        await discord.say(discord.alice, discord.dm, "and then me")
        await discord.wait_for(lambda: len(inbox.messages) == 2)

        assert inbox.texts == ["keep me", "and then me"]


async def test_a_message_dispatched_twice_keeps_its_event_id() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        said = await discord.say(discord.alice, discord.dm, "hello")
        await discord.say_again(said)
        await discord.wait_for(lambda: len(inbox.messages) == 2)

        assert {message.event_id for message in inbox.messages} == {said}
