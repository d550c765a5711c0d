"""Each part once: what is done where an earlier try may have got through (rows A1, D1, D7)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import pytest

from adapters.chat.slack import SlackAdapter
from adapters.chat.slack_reply import PLACEHOLDER
from adapters.chat.types import Author, DeliveryError, Message
from tests.adapters.chat.slack_bot import Bench, adapter_for, running
from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure
from tools.identity import ConversationKey

SETTLE_S = 0.6
LANDS_AFTER_S = 0.3


async def asked(bench: Bench, *, channel: str = "C1") -> Message:
    before = set(bench.inbox.kept)
    await bench.slack.say("U1", channel, "question", mention_bot=channel != "D1")
    found = await bench.heard(len(before) + 1)
    return next(each for each in found if each.event_id not in before)


def answers_to(bench: Bench, message: Message) -> list[str]:
    key = message.conversation
    return [
        each.text
        for each in bench.slack.posted(key.channel, key.thread)
        if each.user == bench.slack.world.bot_user_id
    ]


async def lost(bench: Bench, call: Callable[[], Awaitable[object]]) -> None:
    """The call of a process that is killed: Slack accepts it a little later."""
    bench.slack.web.lands_late["chat.postMessage"] = deque([LANDS_AFTER_S])
    task = asyncio.ensure_future(call())
    await bench.slack.wait_for(lambda: not bench.slack.web.lands_late["chat.postMessage"])
    task.cancel()
    await asyncio.wait((task,))


async def test_what_nobody_tried_before_is_posted_without_a_look() -> None:
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        for index in range(3):
            await reply.deliver(index, f"part {index}", token=f"t{index}")
        await reply.aclose()

        assert answers_to(bench, message) == ["part 0", "part 1", "part 2"]
        assert bench.slack.web.count("conversations.replies") == 0
        assert bench.slack.web.count("conversations.history") == 0


@pytest.mark.parametrize("channel", ["C1", "D1"])
async def test_a_placeholder_that_lands_after_its_process_died_is_adopted(channel: str) -> None:
    async with running() as bench:
        message = await asked(bench, channel=channel)
        await lost(bench, lambda: bench.adapter.reply(message).open(None))
        reply = adapter_for(bench.slack, settle_s=SETTLE_S).reply(message)
        placeholder = await reply.open(None, again=True)
        assert answers_to(bench, message) == [PLACEHOLDER]
        assert await reply.deliver(0, "answer", token="t0") == placeholder
        await reply.aclose()

        assert answers_to(bench, message) == ["answer"]


async def test_a_placeholder_that_was_never_posted_is_posted_by_the_next_process() -> None:
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None, again=True)
        await reply.aclose()

        assert answers_to(bench, message) == [PLACEHOLDER]


async def test_a_part_that_lands_after_its_process_died_is_not_sent_again() -> None:
    async with running() as bench:
        message = await asked(bench)
        died = bench.adapter.reply(message)
        placeholder = await died.open(None)
        await died.deliver(0, "first", token="t0")
        await lost(bench, lambda: died.deliver(1, "second", token="t1"))
        reply = adapter_for(bench.slack, settle_s=SETTLE_S).reply(message)
        await reply.open(placeholder, again=True)
        await reply.deliver(0, "first", token="t0", tried_s_ago=0.1)
        await reply.deliver(1, "second", token="t1", tried_s_ago=0.1)
        await reply.deliver(2, "third", token="t2")
        await reply.aclose()

        assert answers_to(bench, message) == ["first", "second", "third"]


async def test_only_what_is_left_of_the_settle_delay_is_waited_out() -> None:
    async with running() as bench:
        message = await asked(bench)
        reply = adapter_for(bench.slack, settle_s=30).reply(message)
        async with asyncio.timeout(3):
            await reply.deliver(1, "second", token="t1", tried_s_ago=29.9)
        await reply.aclose()

        assert answers_to(bench, message) == ["second"]


async def test_a_part_is_found_in_a_thread_that_has_grown_long_since() -> None:
    async with running() as bench:
        message = await asked(bench)
        root = message.conversation.thread
        reply = bench.adapter.reply(message)
        second = await reply.deliver(1, "second", token="t1")
        for number in range(450):
            await bench.slack.say("U1", "C1", f"and {number}", thread=root)
        assert await reply.deliver(1, "second", token="t1", tried_s_ago=60) == second
        await reply.aclose()


async def test_a_lost_post_is_looked_for_before_the_next_try_in_the_same_process() -> None:
    async with running() as bench:
        message = await asked(bench)
        bench.slack.web.lands_late["chat.postMessage"] = deque([LANDS_AFTER_S])
        reply = adapter_for(bench.slack, settle_s=0.05).reply(message)
        with pytest.raises(DeliveryError) as caught:
            await reply.deliver(1, "second", token="t1")
        await asyncio.sleep(LANDS_AFTER_S)
        await reply.deliver(1, "second", token="t1", tried_s_ago=0.0)
        await reply.aclose()

        assert caught.value.retryable
        assert answers_to(bench, message) == ["second"]


async def test_all_of_a_reply_is_taken_away_when_its_question_is_deleted() -> None:
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        await reply.deliver(0, "first", token="t0")
        await reply.deliver(1, "second", token="t1")
        await reply.remove()
        await reply.remove()
        await reply.aclose()

        assert answers_to(bench, message) == []
        assert bench.slack.web.count("chat.delete") == 2


async def test_own_messages_are_deleted_and_those_that_are_gone_are_fine() -> None:
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        ids = [await reply.deliver(index, "part", token=f"t{index}") for index in (1, 2)]
        await reply.aclose()
        await bench.adapter.remove(message.conversation, ids)
        await bench.adapter.remove(message.conversation, [*ids, "C404:1.2"])

        assert answers_to(bench, message) == []


async def test_what_is_not_ours_is_not_deleted() -> None:
    async with running() as bench:
        message = await asked(bench)
        with pytest.raises(DeliveryError, match="cant_delete_message"):
            await bench.adapter.remove(message.conversation, [message.message_id])


@pytest.mark.parametrize(
    "cuts", [20, pytest.param(1000, marks=[pytest.mark.drill, pytest.mark.timeout(900)])]
)
async def test_a_cut_after_slack_accepted_makes_no_second_message(
    cuts: int, record_figure: RecordFigure
) -> None:
    """Half of the cuts are of a placeholder, half of a later part."""
    async with running() as bench:
        bench.slack.web.limits.clear()
        bench.slack.web.cut_after["chat.postMessage"] = cuts
        for at in range(0, cuts, 20):
            bot = adapter_for(bench.slack)  # a process of its own: each has its own limits
            numbers = range(at, min(at + 20, cuts))
            await asyncio.gather(*(one_post(bench, bot, number) for number in numbers))
        left = bench.slack.web.cut_after["chat.postMessage"]
        said = [each.text for each in bench.slack.world.posted.values()]
    doubled = len(said) - len(set(said))
    missing = len({f"part {number}" for number in range(cuts)} - set(said))

    figure = f"{cuts - left:,} cuts on Slack: {doubled} doubled, {missing} lost"
    record_figure(
        row="D1",
        promise="Accepted, then the connection is cut before the answer: one message",
        figure=figure,
    )
    assert (left, doubled, missing, len(said)) == (0, 0, 0, cuts), figure


async def one_post(bench: Bench, bot: SlackAdapter, number: int) -> None:
    channel = bench.slack.add_channel(f"C1{number:04d}")
    key = ConversationKey(f"slack:{bench.slack.world.team_id}", "public", channel, None)
    said = Author("U1", "member")
    message_id = f"{channel}:1.5"
    reply = bot.reply(Message(message_id, "slack", key, said, "?", 1.5, message_id, "mention"))
    if number % 2:
        await reply.deliver(1, f"part {number}", token=f"t{number}")
    else:
        await reply.open(None)
        await reply.deliver(0, f"part {number}", token=f"t{number}")
    await reply.aclose()
