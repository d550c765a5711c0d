"""The whole bot on a fake Slack: repeats, outages, edits and deletions (rows C1, C2, C9-C12)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from adapters.models.scripted import demo_policy
from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure
from tests.drills.fleet import Fleet, fleet
from tests.drills.places import OnSlack, Question, Tally, a_sum, jitter, settle

Phase = Literal["before", "during", "after"]
PHASES: tuple[Phase, ...] = ("before", "during", "after")
AT_ONCE = 24


class Changing:
    """One question that is changed in one phase of its answer."""

    def __init__(self, place: OnSlack, phase: Phase, dice: random.Random) -> None:
        self.place, self.phase, self.dice = place, phase, dice
        self.first, self.second = a_sum(""), a_sum("")

    async def ask(self) -> None:
        """Ask, and come back at the chosen instant."""
        await self.place.ask(self.first)
        if self.phase != "before":
            await self.place.slack.wait_for(lambda: self.said, timeout_s=30)
            await asyncio.sleep(self.dice.uniform(0, 0.8))
        if self.phase == "after":
            wanted = self.first.answers[0]
            await self.place.slack.wait_for(lambda: wanted in self.said[0], timeout_s=30)

    @property
    def channel(self) -> str:
        return next(c for (c, ts) in self.place._threads if ts == self.first.where)

    @property
    def said(self) -> list[str]:
        """What the bot says to it now."""
        found = self.place.slack.posted(self.channel, self.first.where)
        return [each.text for each in found if each.user == self.place.slack.world.bot_user_id]

    def is_answered(self, question: Question) -> bool:
        return len(self.said) == 1 and question.answers[0] in self.said[0]


def slack_of(team: Fleet) -> OnSlack:
    (place,) = team.places
    assert isinstance(place, OnSlack)
    return place


async def in_lots(changes: Sequence[Changing], do: str) -> None:
    for at in range(0, len(changes), AT_ONCE):
        lot = changes[at : at + AT_ONCE]
        await asyncio.gather(*(change_one(each, do) for each in lot))


async def change_one(change: Changing, do: str) -> None:
    await change.ask()
    slack, ts = change.place.slack, change.first.where
    if do == "edit":
        slack.edit(change.channel, ts, f"<@{slack.world.bot_user_id}> {change.second.text}")
    else:
        slack.remove(slack.message(change.channel, ts))


@pytest.mark.parametrize(
    "each", [4, pytest.param(500, marks=[pytest.mark.drill, pytest.mark.timeout(1200)])]
)
async def test_an_edited_question_has_one_answer(
    each: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    async with fleet(tmp_path, bots=2, platforms=("slack",), channels=60) as team:
        await team.start()
        changes = [
            Changing(slack_of(team), phase, jitter(number))
            for number in range(each)
            for phase in PHASES
        ]
        await in_lots(changes, "edit")
        await asyncio.sleep(1)
        wrong = await left_over(changes, is_right_after_an_edit, within_s=30)
        await team.stop()
        violations = (await team.audit()).violations

    figure = (
        f"{each} edits before, during and after the answer on Slack: {len(wrong)} not answered "
        f"once as they should be; auditor: {len(violations)} violations"
    )
    promise = "Edited before or during the answer: the new text is answered; after: it stays"
    record_figure(row="C11", promise=promise, figure=figure)
    assert wrong == []
    assert violations == []


def is_right_after_an_edit(change: Changing) -> bool:
    if change.phase == "after":
        return change.is_answered(change.first)
    if change.phase == "before":
        return change.is_answered(change.second)
    # The edit may have come just when the answer was final: then it stays.
    return change.is_answered(change.first) or change.is_answered(change.second)


@pytest.mark.parametrize(
    "each", [4, pytest.param(500, marks=[pytest.mark.drill, pytest.mark.timeout(1200)])]
)
async def test_a_deleted_question_keeps_no_answer(
    each: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    async with fleet(tmp_path, bots=2, platforms=("slack",), channels=60) as team:
        slack_of(team).slack.web.limits.pop("chat.delete", None)
        await team.start()
        changes = [
            Changing(slack_of(team), phase, jitter(number))
            for number in range(each)
            for phase in PHASES
        ]
        await in_lots(changes, "delete")
        await asyncio.sleep(1)
        left = await left_over(changes, lambda change: not change.said, within_s=60 + each * 2)
        await team.stop()
        violations = (await team.audit()).violations

    figure = (
        f"{each} deletions before, during and after the answer on Slack: {len(left)} answers "
        f"left; auditor: {len(violations)} violations"
    )
    promise = "Deleted before, during or after the answer: no answer stays"
    record_figure(row="C12", promise=promise, figure=figure)
    assert left == []
    assert violations == []


async def left_over(changes: Sequence[Changing], is_right: object, *, within_s: float) -> list[str]:
    """What is still wrong when the time is up."""
    assert callable(is_right)
    until = asyncio.get_running_loop().time() + within_s
    while wrong := [each for each in changes if not is_right(each)]:
        if asyncio.get_running_loop().time() > until:
            break
        await asyncio.sleep(0.5)
    return [f"{each.phase}: {each.first.text} -> {each.said}" for each in wrong]


@pytest.mark.parametrize(
    "events", [40, pytest.param(10_000, marks=[pytest.mark.drill, pytest.mark.timeout(1500)])]
)
async def test_an_event_that_comes_four_times_is_answered_once(
    events: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    async with fleet(
        tmp_path, bots=2, platforms=("slack",), channels=100, policy=demo_policy
    ) as team:
        await team.start()
        place, dice, told = slack_of(team), jitter(1), 0
        for at in range(0, events, 500):
            for _ in range(at, min(at + 500, events)):
                told += await ask_often(place, dice)
            await settle([place], within_s=120)
        tally = Tally.of(place)
        await team.stop()
        violations = (await team.audit()).violations

    figure = f"{told:,} deliveries of {tally}; auditor: {len(violations)} violations"
    record_figure(row="C1", promise="The same event several times: one turn", figure=figure)
    assert tally.is_clean, figure
    assert violations == []


async def ask_often(place: OnSlack, dice: random.Random) -> int:
    """Ask once and have it told two to four times, now and a little later."""
    await place.ask(a_sum(""))
    sent = place.slack.socket.delivered[-1]
    more = dice.randrange(2)
    for _ in range(more):
        place.slack.socket.send(sent.kind, sent.payload)
    if dice.random() < 0.5:
        asyncio.get_running_loop().call_later(0.5, place.slack.socket.send, sent.kind, sent.payload)
        more += 1
    return 2 + more  # a mention comes as two events


@pytest.mark.parametrize(
    ("kills", "each"), [(1, 5), pytest.param(20, 25, marks=[pytest.mark.drill])]
)
@pytest.mark.timeout(600)
async def test_a_question_whose_first_delivery_died_unread_is_answered(
    kills: int, each: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    """The bot is frozen, so what is delivered then dies in its socket with it."""
    async with fleet(tmp_path, bots=1, platforms=("slack",)) as team:
        await team.start()
        place, (bot,) = slack_of(team), team.bots
        for _ in range(kills):
            bot.freeze()
            for _ in range(each):
                await place.ask(a_sum(""))
            await asyncio.sleep(0.1)
            await bot.kill()
            await bot.start()
            await settle([place], within_s=60)
        tally = Tally.of(place)
        await team.stop()

    figure = f"{kills} processes that died with {each} unread questions, {tally}"
    promise = "The first delivery died before it was stored: the resend is answered"
    record_figure(row="C2", promise=promise, figure=figure)
    assert tally.is_clean, figure


@pytest.mark.drill
@pytest.mark.timeout(1200)
async def test_what_was_missed_in_an_outage_is_answered_once(
    tmp_path: Path, record_figure: RecordFigure
) -> None:
    outages = 100
    async with fleet(tmp_path, bots=1, platforms=("slack",), channels=20) as team:
        await team.start()
        place, (bot,) = slack_of(team), team.bots
        place.slack.socket.loses_when_away = True
        await place.ask(a_sum(""))
        await settle([place], within_s=30)
        for _ in range(outages):
            await bot.kill()
            for _ in range(3):
                await place.ask(a_sum(""))
            await bot.start()
            await settle([place], within_s=30)
        tally = Tally.of(place)
        await team.stop()
        violations = (await team.audit()).violations

    figure = f"{outages} outages on Slack, {tally}; auditor: {len(violations)} violations"
    promise = "Direct questions missed in an outage are answered once"
    record_figure(row="C9", promise=promise, figure=figure)
    assert tally.is_clean, figure
    assert violations == []
