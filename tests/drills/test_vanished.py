"""Threads that vanish while a reply is on its way: nothing lands in the open channel (row D8)."""

from __future__ import annotations

import asyncio
import random

import pytest

from adapters.chat.slack import SlackAdapter
from adapters.chat.types import AdapterError, Message
from bot.testing.slack import SlackTwin
from tests.adapters.chat.slack_bot import Bench, adapter_for, running
from tests.drills.figures import RecordFigure

AT_ONCE = 20


@pytest.mark.timeout(600)
@pytest.mark.parametrize("replies", [30, pytest.param(1000, marks=pytest.mark.drill)])
async def test_no_reply_whose_thread_vanished_is_posted_in_the_open_channel(
    replies: int, record_figure: RecordFigure
) -> None:
    dice = random.Random(replies)
    async with running() as bench:
        bench.slack.web.limits.clear()
        bot = adapter_for(bench.slack, updates_per_minute=100_000)
        messages = [await question(bench, number) for number in range(replies)]
        undelivered = 0
        for at in range(0, replies, AT_ONCE):
            bench.slack.world.surfaces_orphans = dice.random() < 0.5
            ends = [one(bench.slack, bot, each, dice) for each in messages[at : at + AT_ONCE]]
            undelivered += sum(await asyncio.gather(*ends))
        leaks = [each for each in bench.slack.world.posted_by_bot() if not each.thread_ts]

    record_figure(
        row="D8",
        promise="a reply whose thread vanished is not posted in the open channel",
        figure=f"{replies:,} threads that vanished before, between and after the parts of a reply:"
        f" {len(leaks)} in the open channel, {undelivered:,} given up",
    )
    assert leaks == []
    assert undelivered


async def question(bench: Bench, number: int) -> Message:
    """Each in a channel of its own, for one message a second goes into a channel."""
    channel = bench.slack.add_channel(f"C{number + 100}")
    ts = await bench.slack.say("U1", channel, "hello", mention_bot=True)
    event_id = f"{channel}:{ts}"
    await bench.slack.wait_for(lambda: event_id in bench.inbox.kept)
    return bench.inbox.kept[event_id]


async def one(slack: SlackTwin, bot: SlackAdapter, message: Message, dice: random.Random) -> bool:
    """True when the reply had to be given up."""
    vanishes, reply = dice.randrange(4), bot.reply(message)
    try:
        for step in range(4):
            if step == vanishes:
                vanish(slack, message)
            if step == 0:
                await reply.open(None)
            elif step < 3:
                await reply.deliver(step - 1, f"part {step}", token=f"t{step}")
    except AdapterError:
        return True
    finally:
        await reply.aclose()
    return False


def vanish(slack: SlackTwin, message: Message) -> None:
    """The thread with all that is in it."""
    key = message.conversation
    for each in slack.world.thread(key.channel, str(key.thread)):
        del slack.world.posted[each.channel, each.ts]
