"""The Discord adapter while the store, or Discord itself, is away."""

from __future__ import annotations

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from adapters.chat.discord import DiscordAdapter
from adapters.chat.discord_intake import LOST
from adapters.chat.discord_reply import NONCE_KNOWN_S
from adapters.chat.types import Message, NotAccepted, Receipt
from bot.testing.discord import DiscordTwin
from tests.adapters.chat.test_discord import RecordingInbox


class AwayFor(RecordingInbox):
    """A store that is away for a set of texts; counts how often each was offered."""

    def __init__(self, *texts: str) -> None:
        super().__init__()
        self.away_for, self.offered = set(texts), list[str]()

    async def accept(self, message: Message) -> Receipt:
        self.offered.append(message.text)
        if message.text in self.away_for:
            raise NotAccepted("the store is away")
        return await super().accept(message)


async def started(
    discord: DiscordTwin, inbox: RecordingInbox, *, accept_within_s: float, max_waiting: int = 100
) -> tuple[DiscordAdapter, asyncio.Task[None]]:
    adapter = DiscordAdapter(
        token=discord.token,
        api_url=discord.api_url,
        first_backoff_s=0.1,
        accept_within_s=accept_within_s,
        max_waiting=max_waiting,
    )
    running = asyncio.create_task(adapter.run(inbox))
    await discord.wait_connected()
    return adapter, running


async def stopped(running: asyncio.Task[None]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_whoever_wrote_a_message_that_could_not_be_stored_is_told() -> None:
    inbox = AwayFor("keep me")
    async with DiscordTwin() as discord:
        _, running = await started(discord, inbox, accept_within_s=0.5)
        with capture_logs() as logs:
            said = await discord.say(discord.alice, discord.general, "keep me", mention_bot=True)
            await discord.wait_for(lambda: discord.posted(discord.general))
            [told] = discord.posted(discord.general)
            lost = [entry for entry in logs if entry["event"] == "discord.event_lost"]

            assert (told.content, str(told.reply_to)) == (LOST, said)
            assert [entry["event_id"] for entry in lost] == [said]
            assert "keep me" not in str(logs)
        await stopped(running)


async def test_whoever_may_not_ask_is_not_answered() -> None:
    inbox = RecordingInbox()
    inbox.answer = Receipt.DENIED
    async with DiscordTwin() as discord:
        _, running = await started(discord, inbox, accept_within_s=0.1)
        await discord.say(discord.alice, discord.general, "let me in", mention_bot=True)
        await inbox.hears(1)
        await asyncio.sleep(0.1)

        assert discord.posted(discord.general) == []
        await stopped(running)


async def test_a_message_still_waiting_at_the_end_is_logged_by_its_id() -> None:
    inbox = AwayFor("first", "second")
    async with DiscordTwin() as discord:
        _, running = await started(discord, inbox, accept_within_s=30)
        with capture_logs() as logs:
            said = [
                await discord.say(discord.alice, discord.dm, text) for text in ("first", "second")
            ]
            await discord.wait_for(lambda: inbox.offered)
            await asyncio.sleep(0.05)
            await stopped(running)

    lost = [entry["event_id"] for entry in logs if entry["event"] == "discord.event_left"]
    assert sorted(lost) == sorted(said)


async def test_a_message_does_not_wait_for_those_before_it_longer_than_its_own_time() -> None:
    first = [f"away {number}" for number in range(6)]
    inbox = AwayFor(*first)
    async with DiscordTwin() as discord:
        _, running = await started(discord, inbox, accept_within_s=0.6)
        began = time.monotonic()
        for text in first:
            await discord.say(discord.alice, discord.dm, text)
        await discord.say(discord.alice, discord.dm, "fits")
        await inbox.hears(1)

        assert time.monotonic() - began < 2.0, "seven waits in a row would be four seconds"
        assert inbox.texts == ["fits"]
        await stopped(running)


async def test_messages_of_a_channel_keep_their_order_while_the_store_is_away() -> None:
    inbox = RecordingInbox()
    inbox.failures = 2
    texts = [f"number {number}" for number in range(5)]
    async with DiscordTwin() as discord:
        _, running = await started(discord, inbox, accept_within_s=5)
        for text in texts:
            await discord.say(discord.alice, discord.dm, text)
        await inbox.hears(5)

        assert inbox.texts == texts
        await stopped(running)


async def test_no_more_messages_wait_than_a_bound_allows() -> None:
    inbox = AwayFor("flood")
    async with DiscordTwin() as discord:
        _, running = await started(discord, inbox, accept_within_s=30, max_waiting=3)
        with capture_logs() as logs:
            said = [await discord.say(discord.alice, discord.dm, "flood") for _ in range(5)]
            await discord.wait_for(
                lambda: [entry for entry in logs if entry["event"] == "discord.event_lost"]
            )
            lost = [entry for entry in logs if entry["event"] == "discord.event_lost"]
            assert lost[0]["reason"] == "too many waiting"
            assert lost[0]["event_id"] in said[3:]
            await stopped(running)


async def test_parts_posted_before_a_long_outage_are_not_posted_again() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord:
        adapter, running = await started(discord, inbox, accept_within_s=5)
        await discord.say(discord.alice, discord.general, "tell me", mention_bot=True)
        await inbox.hears(1)
        first = adapter.reply(inbox.messages[0])
        placeholder = await first.open(None)
        posted = [
            await first.deliver(number, f"part {number}", token=f"t{number}") for number in range(3)
        ]
        await first.aclose()  # the process died before it wrote down what arrived
        discord.rest.nonces.clear()  # and Discord has forgotten the nonces since

        again = adapter.reply(inbox.messages[0])
        await again.open(placeholder)
        found = [
            await again.deliver(
                number, f"part {number}", token=f"t{number}", tried_s_ago=NONCE_KNOWN_S
            )
            for number in range(3)
        ]
        last = await again.deliver(3, "part 3", token="t3")
        await again.aclose()

        assert found == posted
        texts = [each.content for each in discord.posted(discord.general)]
        assert texts == ["part 0", "part 1", "part 2", "part 3"]
        assert discord.message(last).content == "part 3"
        await stopped(running)
