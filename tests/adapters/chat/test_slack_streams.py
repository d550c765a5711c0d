"""Slack's native streams: one message that grows, and exactly the final text at its end."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from functools import partial

import pytest

from adapters.chat.slack_reply import SlackReply
from adapters.chat.types import (
    Activity,
    AdapterError,
    Command,
    DeliveryError,
    Draft,
    Message,
    Offers,
)
from bot.testing.slack import SlackTwin
from bot.testing.slack.streams import Stream
from bot.testing.slack.web_api import Fault
from bot.testing.slack.world import Posted
from tests.adapters.chat.slack_bot import Bench, adapter_for, insist, running
from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure

WORDS = " ".join(f"word{number}" for number in range(200))


async def asked(bench: Bench, *, channel: str = "C1") -> Message:
    before = set(bench.inbox.kept)
    await bench.slack.say("U1", channel, "question", mention_bot=channel != "D1")
    found = await bench.heard(len(before) + 1)
    return next(each for each in found if each.event_id not in before)


def answers(bench: Bench, message: Message) -> list[Posted]:
    key = message.conversation
    found = bench.slack.posted(key.channel, key.thread)
    return [each for each in found if each.user == bench.slack.world.bot_user_id]


def streamed(bench: Bench) -> Stream:
    [stream] = bench.slack.streams.all.values()
    return stream


async def has_text(bench: Bench, text: str) -> None:
    """Wait until the stream shows it."""
    stream = streamed(bench)
    await bench.slack.wait_for(lambda: text in stream.text)


async def grown(bench: Bench, reply: SlackReply, text: str) -> None:
    """The first words of an answer, as far as they are stable."""
    reply.show(Draft(text))
    await has_text(bench, text.rpartition(" ")[0])


async def finished(reply: SlackReply, text: str) -> str:
    try:
        return await reply.deliver(0, text, token="t0", offers=Offers(again=True))
    finally:
        await reply.aclose()


async def test_an_agents_answer_is_streamed_and_ends_whole_without_a_single_edit() -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        placeholder = await reply.open(None)
        for end in range(50, len(WORDS), 50):
            reply.show(Draft(WORDS[:end]))
            await asyncio.sleep(0.01)
        assert streamed(bench).appends > 2
        assert await finished(reply, WORDS) == placeholder

        [answer] = answers(bench, message)
        assert streamed(bench).text == WORDS
        assert answer.metadata == {
            "event_type": "firstline_part",
            "event_payload": {"token": "t0"},
        }
        assert answer.sent["blocks"][-1]["type"] == "actions"
        assert bench.slack.streams.recipients == [("U1", "T0TWIN")]
        assert bench.slack.web.count("chat.update") == 0
        assert bench.slack.web.count("chat.postMessage") == 0
        assert bench.slack.web.refused == {}
        assert [state for *_, state in bench.slack.sessions][-1] == "active"


async def test_steps_of_the_work_are_shown_as_tasks_by_their_names_only() -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        stream = streamed(bench)
        assert [each["title"] for each in stream.tasks.values()] == ["Thinking…"]
        reply.show(Draft(status="Waiting for the model: next in line…"))
        await bench.slack.wait_for(lambda: "next" in stream.tasks["thinking"]["title"])
        reply.show(Draft(activities=(Activity("look", "running", "secret"),)))
        await bench.slack.wait_for(lambda: "step-0" in stream.tasks)
        done = (Activity("look", "done", "secret"), Activity("search", "running", "secret"))
        reply.show(Draft(activities=done))
        await bench.slack.wait_for(lambda: "step-1" in stream.tasks)
        await finished(reply, "The answer.")

        shown = [(each["title"], each["status"]) for each in stream.tasks.values()]
        assert shown[1:] == [("Looking at the image", "complete"), ("Using search", "complete")]
        assert shown[0][1] == "complete"
        assert "secret" not in str(bench.slack.web.calls)
        assert stream.text == "The answer."


@pytest.mark.parametrize(
    "text",
    [
        "Look at https://evil.example/?q=secret for more",
        "Look at www.evil.example for more",
        "Look at evil.example for more",
        "![x](https://evil.example/x.png) is a picture",
    ],
)
async def test_a_link_is_never_streamed_for_streams_have_no_switch_for_previews(text: str) -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        for end in range(1, len(text) + 1):
            reply.show(Draft(text[:end]))
            await asyncio.sleep(0.001)
        await bench.slack.wait_for(lambda: not bench.slack.streams.open())
        await finished(reply, text)

        [answer] = answers(bench, message)
        assert answer.text == text
        assert bench.slack.streams.links == []
        assert answer.sent["unfurl_links"] is False


async def test_a_text_that_begins_anew_goes_on_by_edits_in_the_same_message() -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        placeholder = await reply.open(None)
        await grown(bench, reply, "The first try at it")
        reply.show(Draft("Another text altogether"))
        posted = bench.slack.world.posted["C1", placeholder.partition(":")[2]]
        await bench.slack.wait_for(lambda: posted.text == "Another text altogether")
        assert bench.slack.sessions[-1][2] == "processing"
        await finished(reply, "Another text altogether, and more.")

        assert [each.text for each in answers(bench, message)] == [
            "Another text altogether, and more."
        ]
        assert bench.slack.sessions[-1][2] == "active"


async def test_a_stream_is_ended_in_time_and_its_message_grows_on() -> None:
    async with running(agent=True, stream_lives_s=0.3) as bench:
        message = await asked(bench)
        bench.slack.streams.lives_s = 5.0
        reply = bench.adapter.reply(message)
        await reply.open(None)
        for end in range(10, 500, 10):
            reply.show(Draft(WORDS[:end]))
            await asyncio.sleep(0.01)
        assert bench.slack.streams.died == []
        assert bench.slack.streams.open() == []
        await finished(reply, WORDS)

        assert [each.text for each in answers(bench, message)] == [WORDS]
        assert bench.slack.web.count("chat.startStream") == 1
        assert bench.slack.web.count("chat.update") > 1


async def test_a_stream_that_died_meanwhile_loses_nothing() -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        await grown(bench, reply, WORDS[:50])
        bench.slack.streams.die(streamed(bench))
        reply.show(Draft(WORDS[:200]))
        await finished(reply, WORDS)

        assert [each.text for each in answers(bench, message)] == [WORDS]


async def test_what_was_refused_for_speed_goes_along_with_the_next_append() -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        bench.slack.web.scripted_429["chat.appendStream"] = deque([0.0])
        reply.show(Draft(WORDS[:50]))
        await bench.slack.wait_for(lambda: not bench.slack.web.scripted_429["chat.appendStream"])
        reply.show(Draft(WORDS[:100]))
        await has_text(bench, WORDS[:80])
        await finished(reply, WORDS)

        assert streamed(bench).text == WORDS
        assert bench.slack.web.count("chat.update") == 0


async def test_an_append_that_may_have_arrived_is_not_repeated() -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        bench.slack.web.cut_after["chat.appendStream"] = 1
        reply.show(Draft(WORDS[:50]))
        await bench.slack.wait_for(lambda: not bench.slack.streams.open())
        reply.show(Draft(WORDS[:100]))
        await finished(reply, WORDS)

        assert [each.text for each in answers(bench, message)] == [WORDS]


@pytest.mark.parametrize("method", ["chat.startStream", "chat.stopStream"])
async def test_a_call_cut_after_acceptance_makes_no_second_message(method: str) -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        bench.slack.web.cut_after[method] = 1
        await reply.open(None)
        reply.show(Draft(WORDS[:50]))
        await finished(reply, WORDS)

        assert [each.text for each in answers(bench, message)][-1].endswith(WORDS)
        assert len(answers(bench, message)) == 1
        assert bench.slack.streams.open() == []


@pytest.mark.parametrize(
    "error", ["user_not_found", "team_not_found", "missing_recipient_user_id", "unknown_method"]
)
async def test_where_the_native_call_is_refused_the_reply_is_edited(error: str) -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        bench.slack.web.faults["chat.startStream"] = deque([Fault(error)])
        for count in (1, 2):
            reply = bench.adapter.reply(message)
            await reply.open(None)
            await finished(reply, f"answer {count}")

        assert [each.text for each in answers(bench, message)] == ["answer 1", "answer 2"]
        assert bench.slack.web.count("chat.startStream") == (1 if error == "unknown_method" else 2)


async def test_no_more_streams_are_begun_than_slack_lets_start_and_stop() -> None:
    async with running(agent=True) as bench:
        bench.slack.web.limits |= dict.fromkeys(("chat.startStream", "chat.stopStream"), (4, 60.0))
        bot = adapter_for(bench.slack, updates_per_minute=10)
        replies = []
        for _ in range(6):
            replies.append(bot.reply(await asked(bench)))
            await replies[-1].open(None)
        for reply in replies:
            await finished(reply, WORDS)

        assert bench.slack.web.count("chat.startStream") == 4
        assert "chat.startStream:ratelimited" not in bench.slack.web.refused
        assert "chat.stopStream:ratelimited" not in bench.slack.web.refused


async def test_a_restarted_bot_ends_the_stream_of_the_dead_one_and_edits_its_message() -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        died = bench.adapter.reply(message)
        placeholder = await died.open(None)
        await grown(bench, died, WORDS[:50])

        successor = adapter_for(bench.slack).reply(message)
        assert await successor.open(placeholder) == placeholder
        successor.show(Draft("From the"))
        await bench.slack.wait_for(lambda: not bench.slack.streams.open())
        await finished(successor, "From the beginning.")
        await died.aclose()

        assert [each.text for each in answers(bench, message)] == ["From the beginning."]


async def test_a_stream_whose_process_died_before_telling_is_found_again() -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        begun = await bench.adapter.reply(message).open(None)

        successor = adapter_for(bench.slack).reply(message)
        assert await successor.open(None, again=True) == begun
        await finished(successor, WORDS)

        assert [each.text for each in answers(bench, message)] == [WORDS]


async def test_a_reply_that_is_anothers_by_now_appends_and_ends_nothing() -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        is_ours = True
        reply = bench.adapter.reply(message, may_show=lambda: is_ours)
        await reply.open(None)
        await grown(bench, reply, WORDS[:50])
        is_ours = False
        before, shown = list(bench.slack.sessions), streamed(bench).text
        reply.show(Draft(WORDS[:100]))
        with pytest.raises(DeliveryError):
            await reply.deliver(0, WORDS, token="t0")
        await reply.aclose()

        assert streamed(bench).text == shown
        assert bench.slack.streams.open()
        assert bench.slack.sessions == before


@pytest.mark.parametrize("surfaces", [True, False])
async def test_no_stream_stays_in_the_open_channel_when_its_thread_vanished(surfaces: bool) -> None:
    async with running(agent=True) as bench:
        first, message = await asked(bench), await asked(bench)
        await finished(await opened(bench, first), "so that the session is known")
        bench.slack.world.surfaces_orphans = surfaces
        del bench.slack.world.posted["C1", str(message.conversation.thread)]
        with pytest.raises(AdapterError):
            await bench.adapter.reply(message).open(None)

        assert [each for each in bench.slack.world.posted_by_bot() if not each.thread_ts] == []


async def opened(bench: Bench, message: Message) -> SlackReply:
    reply = bench.adapter.reply(message)
    await reply.open(None)
    return reply


async def test_a_final_text_with_a_table_replaces_what_was_streamed() -> None:
    table = "Numbers:\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
    async with running(agent=True) as bench:
        message = await asked(bench)
        reply = await opened(bench, message)
        reply.show(Draft(table[:20]))
        await finished(reply, table)

        [answer] = answers(bench, message)
        assert [each["type"] for each in answer.sent["blocks"]] == ["markdown", "table", "actions"]


async def test_slacks_own_stop_button_stops_what_is_streamed_to_its_user() -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        reply = await opened(bench, message)
        await grown(bench, reply, WORDS[:50])
        bench.slack.stop_session("U1", "C1", str(message.conversation.thread))
        await bench.quiet()
        await finished(reply, "word0 (stopped)")

        assert bench.inbox.commands == [
            Command("stop", "", "slack", message.conversation, message.author)
        ]
        assert [each.text for each in answers(bench, message)] == ["word0 (stopped)"]


async def test_a_deleted_question_takes_its_stream_along() -> None:
    async with running(agent=True) as bench:
        message = await asked(bench)
        reply = await opened(bench, message)
        await grown(bench, reply, WORDS[:50])
        await reply.remove()
        await reply.aclose()

        assert answers(bench, message) == []


@pytest.mark.parametrize(("agent", "streaming"), [(True, False), (False, True)])
async def test_nothing_is_streamed_by_setting_and_where_there_is_no_stop_button(
    agent: bool, streaming: bool
) -> None:
    async with running(agent=agent, streaming=streaming) as bench:
        await finished(await opened(bench, await asked(bench)), WORDS)

        assert bench.slack.web.count("chat.startStream") == 0


async def test_an_older_app_says_that_it_thinks_in_its_assistants_threads() -> None:
    async with running(agent=True) as bench:
        bench.slack.is_agent, bench.slack.streams.has_assistant = False, True
        message = await asked(bench)
        thread = str(message.conversation.thread)
        await finished(await opened(bench, message), "answer")

        statuses = [("C1", thread, "is thinking…"), ("C1", thread, "")]
        assert bench.slack.streams.statuses[-2:] == statuses
        assert bench.slack.web.count("chat.startStream") == 0


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("replies", "at_once"), [(20, 10), pytest.param(1000, 50, marks=pytest.mark.drill)]
)
async def test_a_streamed_reply_whose_calls_are_lost_or_refused_ends_with_the_exact_text(
    replies: int, at_once: int, record_figure: RecordFigure
) -> None:
    dice = random.Random(replies)
    async with running(agent=True) as bench:
        bench.slack.web.limits.clear()
        bot = adapter_for(bench.slack, updates_per_minute=100_000, stream_lives_s=0.2)
        await finished(await opened(bench, await asked(bench)), "so that the session is known")
        wrong = 0
        for _ in range(0, replies, at_once):
            some = [await one_asked(bench, dice) for _ in range(at_once)]
            trouble = asyncio.create_task(troubles(bench.slack, random.Random(dice.random())))
            texts = await asyncio.gather(*(one(bot.reply(each), dice) for each in some))
            trouble.cancel()
            for each, text in zip(some, texts, strict=True):
                found = [read(posted) for posted in answers(bench, each)]
                wrong += found != [text]

    record_figure(
        row="D6",
        promise="a streamed reply ends with the exact text, whatever was lost on the way",
        figure=f"{replies:,} streamed replies in Slack with lost, refused and cut calls:"
        f" {wrong} texts wrong",
    )
    assert wrong == 0


async def one_asked(bench: Bench, dice: random.Random) -> Message:
    channel = bench.slack.add_channel(f"C{dice.getrandbits(40)}")
    return await asked(bench, channel=channel)


def read(posted: Posted) -> str:
    """The text without the cards of the steps."""
    blocks = posted.sent["blocks"] or []
    return "".join(each["text"] for each in blocks if each["type"] == "markdown")


async def one(reply: SlackReply, dice: random.Random) -> str:
    words = [f"w{dice.randrange(99)}" for _ in range(dice.randrange(5, 60))]
    await insist(partial(reply.open, None))
    for end in range(1, len(words)):
        reply.show(Draft(" ".join(words[:end])))
        await asyncio.sleep(dice.random() * 0.02)
    text = " ".join(words) + dice.choice(["", "\n\n_note_", " https://a.example/x", "\n\n- one"])
    await insist(partial(reply.deliver, 0, text, token="t0"))
    await reply.aclose()
    return text


async def troubles(slack: SlackTwin, dice: random.Random) -> None:
    """A lost answer, a gateway's page or a refusal for speed, one of each kind at a time."""
    too_fast = Fault("ratelimited", status=429, headers={"Retry-After": "0.02"})
    page = Fault(status=503)
    while True:
        await asyncio.sleep(dice.random() * 0.1)
        method = dice.choice(["chat.appendStream", "chat.stopStream", "chat.update"])
        if dice.random() < 0.4:
            slack.web.cut_after[method] = 1
        elif not (faults := slack.web.faults.setdefault(method, deque())):
            faults.append(dice.choice([too_fast, page]))
