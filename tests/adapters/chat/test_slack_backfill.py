"""What was asked while the bot was away is answered once, oldest first (row C9)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator

import pytest

from adapters.chat.slack import SlackAdapter
from adapters.chat.slack_backfill import Gaps
from bot.testing.slack import SlackTwin
from tests.adapters.chat.slack_bot import RecordingInbox, adapter_for
from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure

ONE_LONG_AGO = time.time() - 3600


@contextlib.asynccontextmanager
async def workspace() -> AsyncIterator[SlackTwin]:
    """A Slack whose events are lost for good while nobody listens."""
    async with SlackTwin() as slack:
        slack.socket.loses_when_away = True
        slack.add_user("U1")
        slack.add_channel("C1")
        slack.add_channel("D1", "im")
        yield slack


@contextlib.asynccontextmanager
async def bot(slack: SlackTwin, inbox: RecordingInbox) -> AsyncIterator[SlackAdapter]:
    adapter = adapter_for(slack)
    task = asyncio.create_task(adapter.run(inbox), name="slack adapter")
    try:
        await slack.socket.connected()
        yield adapter
    finally:
        task.cancel()
        await asyncio.wait((task,), timeout=10)
        await slack.wait_for(lambda: not slack.socket._sockets)


async def some_time_for(slack: SlackTwin, inbox: RecordingInbox, count: int) -> None:
    with contextlib.suppress(TimeoutError):
        await slack.wait_for(lambda: len(inbox.kept) >= count, timeout_s=5)


async def test_what_could_not_be_stored_however_often_it_came_is_looked_for() -> None:
    async with workspace() as slack:
        slack.socket.resend_after_s = (0.05,)
        inbox = RecordingInbox()
        async with bot(slack, inbox):
            await slack.say("U1", "C1", "before", mention_bot=True)
            await slack.wait_for(lambda: inbox.kept)
            inbox.refusals = 3
            await slack.say("U1", "C1", "while the store was away", mention_bot=True)
            await slack.wait_for(lambda: len(inbox.kept) == 2)
        heard = [each.text for each in inbox.kept.values()]
        assert heard == ["before", "while the store was away"]


async def test_what_was_asked_during_an_outage_is_heard_once_and_oldest_first() -> None:
    async with workspace() as slack:
        inbox = RecordingInbox()
        async with bot(slack, inbox):
            thread = await slack.say("U1", "C1", "before", mention_bot=True)
            await slack.wait_for(lambda: inbox.kept)
        await slack.say("U1", "C1", "not for you")
        await slack.say("U1", "C1", "first: a mention", mention_bot=True)
        await slack.say("U1", "D1", "second: a new direct message")
        await slack.say("U1", "C1", "third: in its thread", thread=thread)
        await slack.say(
            "U1", "C1", "fourth: with a file", mention_bot=True, files=[("a.txt", b"a")]
        )
        async with bot(slack, inbox):
            await slack.wait_for(lambda: len(inbox.kept) == 5)
            await slack.say("U1", "C1", "fifth: live", mention_bot=True)
            await slack.wait_for(lambda: len(inbox.kept) == 6)
        heard = [each.text for each in inbox.kept.values()]
        assert heard == [
            "before",
            "first: a mention",
            "second: a new direct message",
            "third: in its thread",
            "fourth: with a file",
            "fifth: live",
        ]
        kinds = [each.addressing for each in inbox.kept.values()]
        assert kinds == ["mention", "mention", "dm", "followup", "mention", "mention"]
        replayed = [each for each in inbox.kept.values() if each.attachments]
        assert [each.attachments[0].name for each in replayed] == ["a.txt"]


async def test_a_message_read_from_history_is_the_same_as_the_one_told_live() -> None:
    async with workspace() as slack:
        live, later = RecordingInbox(), RecordingInbox(heard={"C1": ONE_LONG_AGO, "": ONE_LONG_AGO})
        async with bot(slack, live):
            root = await slack.say("U1", "C1", "a <b> & c", mention_bot=True, files=[("a", b"a")])
            await slack.say("U1", "C1", "more", thread=root)
            await slack.say("U1", "D1", "hello")
            await slack.wait_for(lambda: len(live.kept) == 3)
        async with bot(slack, later):
            await slack.wait_for(lambda: len(later.kept) == 3)

        assert later.kept == live.kept


async def test_a_first_install_replays_nothing() -> None:
    async with workspace() as slack:
        await slack.say("U1", "C1", "before you came", mention_bot=True)
        inbox = RecordingInbox()
        async with bot(slack, inbox):
            await slack.say("U1", "C1", "now", mention_bot=True)
            await slack.wait_for(lambda: inbox.kept)

        assert [each.text for each in inbox.seen] == ["now"]
        assert slack.web.count("conversations.history") == 0


async def test_what_was_deleted_or_edited_meanwhile_is_heard_as_history_shows_it() -> None:
    async with workspace() as slack:
        inbox = RecordingInbox(heard={"C1": ONE_LONG_AGO, "": ONE_LONG_AGO})
        gone = await slack.say("U1", "C1", "never mind", mention_bot=True)
        edited = await slack.say("U1", "C1", "what is 1+1?", mention_bot=True)
        slack.remove(slack.message("C1", gone))
        slack.edit("C1", edited, "<@U0BOT> what is 2+2?")
        root = await slack.say("U1", "C1", "a root", mention_bot=True)
        await slack.say("U1", "C1", "<@U0BOT> an answer", thread=root)
        slack.remove(slack.message("C1", root))
        await slack.say("U1", "C1", "last", mention_bot=True)
        async with bot(slack, inbox):
            await slack.wait_for(lambda: any("last" in each.text for each in inbox.seen))

        assert [each.text for each in inbox.kept.values()] == ["what is 2+2?", "last"]


async def test_only_the_newest_messages_of_the_last_minutes_are_read() -> None:
    async with workspace() as slack:
        old = f"{time.time() - 16 * 60:.6f}"
        posted = await slack.say("U1", "D1", "too old")
        message = slack.world.posted.pop(("D1", posted))
        message.ts = old
        slack.world.add(message)
        for number in range(250):
            await slack.say("U1", "D1", f"message {number}")
        inbox = RecordingInbox(heard={"D1": ONE_LONG_AGO, "": ONE_LONG_AGO})
        async with bot(slack, inbox):
            await slack.wait_for(lambda: len(inbox.kept) == 200)
            await asyncio.sleep(0.2)

        assert [each.text for each in inbox.kept.values()] == [
            f"message {number}" for number in range(50, 250)
        ]


async def test_a_channel_that_can_not_be_read_hides_no_other() -> None:
    async with workspace() as slack:
        slack.add_channel("C2", with_bot=False)
        await slack.say("U1", "C1", "hello", mention_bot=True)
        marks = dict.fromkeys(("", "C1", "C2", "C404"), ONE_LONG_AGO)
        inbox = RecordingInbox(heard=marks)
        async with bot(slack, inbox):
            await slack.wait_for(lambda: inbox.kept)

        assert [each.text for each in inbox.kept.values()] == ["hello"]


async def test_a_store_and_a_slack_that_are_away_are_asked_again() -> None:
    async with workspace() as slack:
        await slack.say("U1", "C1", "hello", mention_bot=True)
        marks = {"C1": ONE_LONG_AGO, "": ONE_LONG_AGO}
        inbox = RecordingInbox(heard=marks, refusals=1, marks_refused=2)
        slack.web.scripted_http["users.conversations"] = deque([503])
        slack.web.scripted_http["conversations.history"] = deque([503])
        slack.web.scripted_429["conversations.history"] = deque([1.0])
        async with bot(slack, inbox):
            await slack.wait_for(lambda: inbox.kept)

        assert (inbox.refusals, inbox.marks_refused) == (0, 0)
        assert [each.text for each in inbox.kept.values()] == ["hello"]


def test_a_blink_of_the_connection_is_no_gap_and_a_longer_absence_is() -> None:
    now = 1_000_000.0
    gaps = Gaps(lambda: now)

    assert gaps.connected() == now - 15 * 60
    now += 10
    assert gaps.connected() is None
    now += 3_600
    gaps.alive()
    now += 120
    assert gaps.connected() == now - 120 - 60
    now += 3_600
    assert gaps.connected() == now - 15 * 60


@pytest.mark.drill
async def test_an_outage_of_the_connection_alone_is_filled_too() -> None:
    async with workspace() as slack:
        inbox = RecordingInbox()
        async with bot(slack, inbox) as adapter:
            await slack.say("U1", "C1", "before", mention_bot=True)
            await slack.wait_for(lambda: inbox.kept)
            slack.socket.refuses = True
            await slack.socket.cut()
            await slack.wait_for(lambda: not adapter.connected)
            await slack.say("U1", "C1", "while the line was down", mention_bot=True)
            await asyncio.sleep(16)
            slack.socket.refuses = False
            await slack.wait_for(lambda: len(inbox.kept) == 2, timeout_s=30)

        assert [each.text for each in inbox.kept.values()][1] == "while the line was down"


@pytest.mark.parametrize(
    "outages", [3, pytest.param(100, marks=[pytest.mark.drill, pytest.mark.timeout(600)])]
)
async def test_every_outage_is_made_good(outages: int, record_figure: RecordFigure) -> None:
    """A mention, a direct message and a follow-up each time, the bot being a new process."""
    asked, inbox = list[str](), RecordingInbox()
    async with workspace() as slack:
        slack.web.limits.clear()  # a hundred processes start within a minute
        root = ""
        for outage in range(outages):
            mention = await slack.say("U1", "C1", f"{outage} mention", mention_bot=True)
            await slack.say("U1", "D1", f"{outage} direct")
            await slack.say("U1", "C1", f"{outage} follow-up", thread=root or mention)
            asked += [f"{outage} {kind}" for kind in ("mention", "direct", "follow-up")]
            root = mention
            inbox.heard.setdefault("", ONE_LONG_AGO)
            async with bot(slack, inbox):
                await some_time_for(slack, inbox, len(asked))
    heard = [each.text for each in inbox.kept.values()]
    lost = len(set(asked) - set(heard))

    figure = f"{outages} outages on Slack: {lost} of {len(asked):,} questions lost"
    record_figure(
        row="C9",
        promise="Direct questions missed in an outage are taken in once, oldest first",
        figure=figure,
    )
    assert heard == asked, figure
