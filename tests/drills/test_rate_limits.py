"""Slack says wait: nothing is called inside the wait, and every reply ends whole (row D2)."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from adapters.chat.types import Draft, Message
from bot.testing.slack import SlackTwin
from bot.testing.slack.web_api import WATCHERS, Fault
from tests.adapters.chat.slack_bot import adapter_for, insist, running
from tests.drills.figures import RecordFigure
from tests.drills.test_vanished import question

METHODS = ("chat.postMessage", "chat.update")
AT_ONCE = 10
ON_THE_WAY_S = 0.1  # what was sent before the refusal came back
Where = tuple[str, str]


@dataclass(slots=True)
class Waits:
    """What was refused until when, and what was called all the same."""

    slack: SlackTwin
    until: dict[Where, tuple[float, float]] = field(default_factory=dict)
    refused: int = 0
    too_early: list[Where] = field(default_factory=list)

    def watch(self, method: str, args: dict[str, Any]) -> None:
        if method not in METHODS:
            return
        # Posts are limited by channel, updates over the whole workspace.
        where = method, str(args["channel"]) if method == "chat.postMessage" else ""
        now, (since, until) = time.monotonic(), self.until.get(where, (0.0, 0.0))
        if since + ON_THE_WAY_S < now < until:
            self.too_early.append(where)
        if faults := self.slack.web.faults.get(method):
            self.refused += 1
            self.until[where] = now, now + float(faults[0].headers["Retry-After"])


@contextmanager
def watching(slack: SlackTwin) -> Iterator[Waits]:
    waits = Waits(slack)
    WATCHERS.append(waits.watch)
    try:
        yield waits
    finally:
        WATCHERS.remove(waits.watch)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("replies", [40, pytest.param(1000, marks=pytest.mark.drill)])
async def test_nothing_is_called_while_slack_says_wait_and_every_reply_ends_whole(
    replies: int, record_figure: RecordFigure
) -> None:
    dice, wrong = random.Random(replies), 0
    async with running() as bench:
        bench.slack.web.limits.clear()
        bot = adapter_for(bench.slack, updates_per_minute=100_000)
        messages = [await question(bench, number) for number in range(replies)]
        with watching(bench.slack) as waits:
            for at in range(0, replies, AT_ONCE):
                some = messages[at : at + AT_ONCE]
                refusing = asyncio.create_task(refuse(bench.slack, random.Random(at)))
                await asyncio.gather(*(one(bot.reply(each), dice.random()) for each in some))
                refusing.cancel()
                bench.slack.web.faults.clear()
                wrong += sum(said(bench.slack, each) != ["one", "two"] for each in some)

    record_figure(
        row="D2",
        promise="While Slack says wait nothing is called there, and every reply ends whole",
        figure=f"{waits.refused:,} refusals of {replies:,} replies:"
        f" {len(waits.too_early)} calls inside a wait, {wrong} replies not whole or out of order",
    )
    assert waits.refused
    assert waits.too_early == []
    assert wrong == 0


async def one(reply: Any, patience_s: float) -> None:
    try:
        await insist(partial(reply.open, None))
        reply.show(Draft("on"))
        await asyncio.sleep(patience_s * 0.1)
        await insist(partial(reply.deliver, 0, "one", token="t0"))
        await insist(partial(reply.deliver, 1, "two", token="t1"))
    finally:
        await reply.aclose()


async def refuse(slack: SlackTwin, dice: random.Random) -> None:
    """One refusal of each kind at a time, for a while."""
    while True:
        method = dice.choice(METHODS)
        if not slack.web.faults.get(method):
            wait = {"Retry-After": f"{dice.uniform(0.2, 0.6):.2f}"}
            fault = Fault("ratelimited", status=429, headers=wait)
            slack.web.faults[method] = deque([fault])
        await asyncio.sleep(0.3 + dice.random())


def said(slack: SlackTwin, message: Message) -> list[str]:
    key = message.conversation
    found = slack.posted(key.channel, key.thread)
    return [each.text for each in found if each.user == slack.world.bot_user_id]
