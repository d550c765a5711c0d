"""Edits, deletions and buttons as Slack tells them (rows C11 and C12)."""

from __future__ import annotations

import pytest

from adapters.chat.slack_blocks import AGAIN, STOP, button_values
from adapters.chat.slack_reply import PLACEHOLDER
from adapters.chat.types import Activity, Author, Draft, Message, Offers, Press
from tests.adapters.chat.slack_bot import Bench, RecordingInbox, running

TENANT = "slack:T0TWIN"


async def asked(bench: Bench, *, channel: str = "C1", text: str = "question") -> Message:
    await bench.slack.say("U1", channel, text, mention_bot=channel != "D1")
    return (await bench.heard())[0]


def ts_of(message_id: str) -> str:
    return message_id.partition(":")[2]


async def test_an_edit_is_the_whole_message_as_it_reads_now_under_its_old_id() -> None:
    async with running() as bench:
        message = await asked(bench)
        bench.slack.edit("C1", ts_of(message.message_id), "<@U0BOT> a &amp; b?")
        await bench.quiet()

        [(revised, edited_at)] = bench.inbox.revised
    assert (revised.event_id, revised.text) == (message.event_id, "a & b?")
    assert (revised.conversation, revised.author) == (message.conversation, message.author)
    assert revised.sent_at == message.sent_at < edited_at
    assert revised.addressing == "mention"


@pytest.mark.parametrize(
    ("channel", "in_thread", "addressing"), [("D1", False, "dm"), ("C1", True, "followup")]
)
async def test_an_edit_needs_no_mention(channel: str, in_thread: bool, addressing: str) -> None:
    async with running() as bench:
        root = await bench.slack.say("U1", channel, "hello", mention_bot=channel == "C1")
        await bench.quiet()
        thread = root if in_thread else None
        ts = await bench.slack.say("U1", channel, "and more", thread=thread)
        await bench.heard(2)
        bench.slack.edit(channel, ts, "and less")
        await bench.quiet()

        [(revised, _)] = bench.inbox.revised
    assert (revised.text, revised.addressing) == ("and less", addressing)
    assert revised.conversation == bench.inbox.kept[f"{channel}:{ts}"].conversation


@pytest.mark.parametrize("change", ["edit", "deletion"])
async def test_a_change_that_overtakes_its_message_is_not_lost(change: str) -> None:
    async with running() as bench:
        bench.slack.socket.ack_timeout_s = 0.3
        bench.inbox.refusals = 2  # so that the message, told twice, comes again later
        ts = await bench.slack.say("U1", "C1", "old", mention_bot=True)
        await bench.slack.wait_for(lambda: not bench.inbox.refusals)
        if change == "edit":
            bench.slack.edit("C1", ts, "<@U0BOT> new")
        else:
            bench.slack.remove(bench.slack.message("C1", ts))
        await bench.quiet()

        heard = [each.text for each in bench.inbox.kept.values()]
        assert heard == (["new"] if change == "edit" else [])


async def test_an_edit_that_names_the_bot_for_the_first_time_asks_it() -> None:
    async with running() as bench:
        ts = await bench.slack.say("U1", "C1", "how do I reset my password?")
        other = await bench.slack.say("U1", "C1", "lunch?")
        bench.slack.edit("C1", ts, "<@U0BOT> how do I reset my password?")
        bench.slack.edit("C1", other, "dinner?")
        await bench.quiet()

        assert [each.event_id for each in bench.inbox.seen] == [f"C1:{ts}"]


async def test_links_that_unfold_growing_threads_and_our_own_edits_are_no_edits() -> None:
    async with running() as bench:
        message = await asked(bench, text="see https://example.com")
        reply = bench.adapter.reply(message)
        await reply.open(None)
        reply.show(Draft("a draft"))
        await reply.deliver(0, "answer", token="t0")
        await reply.aclose()
        bench.slack.unfurl("C1", ts_of(message.message_id))
        bench.slack.add_user("U9", "bot")
        other = await bench.slack.say("U9", "C1", "build 1 failed")
        bench.slack.edit("C1", other, "build 1 passed")
        same = bench.slack.message("C1", ts_of(message.message_id))
        bench.slack.change(same, dict(same.sent), by="U1")
        await bench.quiet()

        assert bench.inbox.revised == []
        assert len(bench.inbox.kept) == 1


@pytest.mark.parametrize("is_root_of_a_thread", [False, True])
async def test_a_deleted_question_is_told_whether_or_not_a_tombstone_stays(
    is_root_of_a_thread: bool,
) -> None:
    async with running() as bench:
        message = await asked(bench)
        if is_root_of_a_thread:
            reply = bench.adapter.reply(message)
            await reply.open(None)
            await reply.aclose()
        ts = ts_of(message.message_id)
        bench.slack.remove(bench.slack.message("C1", ts))
        await bench.quiet()

        assert bench.inbox.retracted == [("slack", TENANT, message.event_id)]
        assert bench.inbox.revised == []
        assert (("C1", ts) in bench.slack.world.posted) == is_root_of_a_thread


async def test_our_own_deleted_messages_are_no_deleted_questions() -> None:
    async with running() as bench:
        reply = bench.adapter.reply(await asked(bench))
        await reply.open(None)
        await reply.remove()
        await bench.quiet()

        assert bench.inbox.retracted == []


@pytest.mark.parametrize("change", ["edit", "deletion"])
async def test_a_change_that_could_not_be_stored_comes_again(change: str) -> None:
    async with running() as bench:
        bench.slack.socket.ack_timeout_s = 0.3
        message = await asked(bench)
        await bench.quiet()
        bench.inbox.refusals = 1
        ts = ts_of(message.message_id)
        if change == "edit":
            told = bench.slack.edit("C1", ts, "another question")
        else:
            told = bench.slack.remove(bench.slack.message("C1", ts))
        await bench.quiet()

        assert told.tries == 2
        assert len(bench.inbox.revised) + len(bench.inbox.retracted) == 1


async def test_a_reply_can_be_stopped_while_it_grows_and_not_once_it_is_whole() -> None:
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        placeholder = ts_of(await reply.open(None))
        posted = bench.slack.message("C1", placeholder)
        assert button_values(posted.sent, STOP) == [message.event_id]
        assert posted.text == PLACEHOLDER
        reply.show(Draft("a draft"))
        await bench.slack.wait_for(lambda: posted.text == "a draft")
        assert button_values(posted.sent, STOP) == [message.event_id]
        await reply.deliver(0, "answer", token="t0")
        await reply.deliver(1, "more", token="t1")
        await reply.aclose()

        for each in bench.slack.posted("C1", message.conversation.thread)[1:]:
            assert [block["type"] for block in each.sent["blocks"]] == ["markdown"]
        assert bench.slack.web.refused == {}


async def test_a_press_says_who_pressed_and_where() -> None:
    async with running() as bench:
        bench.slack.add_user("U2", "guest")
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        placeholder = ts_of(await reply.open(None))
        run = await bench.slack.press("U2", "C1", placeholder, STOP)
        await reply.aclose()

        author = Author("U2", "guest")
        assert bench.inbox.presses == [
            Press("stop", message.event_id, "slack", TENANT, "C1", author, "en-US")
        ]
        assert run.answers == []


@pytest.mark.parametrize("slow_s", [0.0, 2.3])
async def test_a_refused_press_is_told_to_who_pressed_only(slow_s: float) -> None:
    inbox = RecordingInbox(told="Only <who> asked may stop this.", slow_s=slow_s)
    async with running(inbox) as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        placeholder = ts_of(await reply.open(None))
        run = await bench.slack.press("U1", "C1", placeholder, STOP, timeout_s=3)
        await bench.slack.wait_for(lambda: run.answers)
        await reply.aclose()

        assert run.answers == ["Only &lt;who&gt; asked may stop this."]
        assert run.thread == message.conversation.thread
        assert bench.slack.message("C1", placeholder).text == PLACEHOLDER


async def test_a_new_answer_can_be_asked_for_where_it_is_offered() -> None:
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        first = await reply.deliver(0, "half", token="t0")
        last = await reply.deliver(1, "an answer", token="t1", offers=Offers(again=True))
        await reply.aclose()
        sent = bench.slack.message("C1", ts_of(last)).sent
        assert button_values(sent, AGAIN) == [message.event_id]
        assert button_values(sent, STOP) == []
        assert button_values(bench.slack.message("C1", ts_of(first)).sent, AGAIN) == []
        await bench.slack.press("U1", "C1", ts_of(last), AGAIN)

        assert [(each.kind, each.event_id) for each in bench.inbox.presses] == [
            ("again", message.event_id)
        ]
        assert bench.slack.web.refused == {}


async def test_slacks_own_stop_button_stops_what_is_edited_in_its_thread() -> None:
    async with running(agent=True, streaming=False) as bench:
        message = await asked(bench)
        thread = str(message.conversation.thread)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        bench.slack.stop_session("U1", "C1", thread)
        await bench.quiet()
        await reply.deliver(0, "answer", token="t0")
        bench.slack.stop_session("U1", "C1", thread)
        await bench.quiet()
        await reply.aclose()
        await reply.aclose()

        assert bench.inbox.presses == [
            Press("stop", message.event_id, "slack", TENANT, "C1", message.author)
        ]
        assert bench.slack.sessions == [
            ("C1", thread, "processing"),
            ("C1", thread, "active"),
        ]


async def test_an_app_that_is_no_agent_asks_slack_for_a_session_once_at_most() -> None:
    async with running(agent=True) as bench:
        bench.slack.is_agent = False
        for number in range(2):
            await bench.slack.say("U1", "C1", f"question {number}", mention_bot=True)
        for message in await bench.heard(2):
            reply = bench.adapter.reply(message)
            await reply.open(None)
            await reply.deliver(0, "answer", token="t0")
            await reply.aclose()

        assert bench.slack.web.count("agents.sessions.setStatus") == 1


async def test_no_session_is_asked_for_unless_the_app_is_an_agent() -> None:
    async with running() as bench:
        reply = bench.adapter.reply(await asked(bench))
        await reply.open(None)
        await reply.aclose()

        assert bench.slack.web.count("agents.sessions.setStatus") == 0


@pytest.mark.malformed
async def test_a_payload_with_a_foreign_button_is_left_alone() -> None:
    async with running() as bench:
        payload = {"type": "block_actions", "user": {"id": "U1"}, "channel": {"id": "C1"}}
        action = {"action_id": "other", "value": "x"}
        sent = bench.slack.socket.send("interactive", payload | {"actions": [action]})
        await bench.slack.wait_for(sent.acked.is_set)

        assert bench.inbox.presses == []


async def test_what_is_being_done_can_be_stopped() -> None:
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        posted = bench.slack.message("C1", ts_of(await reply.open(None)))
        reply.show(Draft(activities=(Activity("calculate", "running"),)))
        await bench.slack.wait_for(lambda: posted.text != PLACEHOLDER)
        await reply.aclose()

        assert button_values(posted.sent, STOP) == [message.event_id]
