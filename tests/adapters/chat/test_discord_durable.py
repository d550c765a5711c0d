"""The whole bot on a fake Discord: edits and deletions at any moment (rows C11, C12)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest

from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure
from tests.drills.fleet import Fleet, fleet
from tests.drills.places import OnDiscord, Question, a_sum, jitter

Phase = Literal["before", "during", "after"]
PHASES: tuple[Phase, ...] = ("before", "during", "after")
AT_ONCE = 24
FULL = pytest.param(500, marks=[pytest.mark.drill, pytest.mark.timeout(1200)])


class Changing:
    """One question that is changed in one phase of its answer."""

    def __init__(self, place: OnDiscord, phase: Phase, dice: random.Random) -> None:
        self.place, self.discord, self.phase, self.dice = place, place.discord, phase, dice
        self.first, self.second = a_sum(""), a_sum("")

    async def ask(self) -> None:
        """Ask, and come back at the chosen instant."""
        await self.place.ask(self.first)
        if self.phase != "before":
            await self.discord.wait_for(lambda: self.said, 30)
            await asyncio.sleep(self.dice.uniform(0, 0.8))
        if self.phase == "after":
            wanted = self.first.answers[0]
            await self.discord.wait_for(lambda: wanted in self.said[0], 30)

    async def edit(self) -> None:
        await self.ask()
        text = f"{self.discord.bot.mention} {self.second.text}"
        await self.discord.edit(self.first.where, text)

    async def delete(self) -> None:
        await self.ask()
        await self.discord.take_away(self.first.where)

    @property
    def said(self) -> list[str]:
        """What the bot says to it now."""
        answers = str(self.first.where)
        messages = list(self.discord.world.messages.values())
        return [each.content for each in messages if str(each.reply_to) == answers]

    def is_answered(self, question: Question) -> bool:
        return len(self.said) == 1 and question.answers[0] in self.said[0]

    @property
    def is_right_after_an_edit(self) -> bool:
        if self.phase == "after":
            return self.is_answered(self.first)
        if self.phase == "before":
            return self.is_answered(self.second)
        # The edit may have come just when the answer was final: then it stays.
        return self.is_answered(self.first) or self.is_answered(self.second)


def changes_in(team: Fleet, each: int) -> list[Changing]:
    (place,) = team.places
    assert isinstance(place, OnDiscord)
    return [Changing(place, phase, jitter(number)) for number in range(each) for phase in PHASES]


async def left_over(
    changes: Sequence[Changing], is_right: Callable[[Changing], bool], *, within_s: float
) -> list[str]:
    """What is still wrong when the time is up."""
    until = asyncio.get_running_loop().time() + within_s
    while wrong := [each for each in changes if not is_right(each)]:
        if asyncio.get_running_loop().time() > until:
            break
        await asyncio.sleep(0.5)
    return [f"{each.phase}: {each.first.text} -> {each.said}" for each in wrong]


@pytest.mark.parametrize("each", [4, FULL])
async def test_an_edited_question_has_one_answer(
    each: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    async with fleet(tmp_path, bots=2, platforms=("discord",), channels=60) as team:
        await team.start()
        changes = changes_in(team, each)
        for at in range(0, len(changes), AT_ONCE):
            await asyncio.gather(*(change.edit() for change in changes[at : at + AT_ONCE]))
        await asyncio.sleep(1)
        wrong = await left_over(changes, lambda it: it.is_right_after_an_edit, within_s=30)
        await team.stop()
        violations = (await team.audit()).violations

    figure = (
        f"{each} edits before, during and after the answer on Discord: {len(wrong)} not answered "
        f"once as they should be; auditor: {len(violations)} violations"
    )
    promise = "Edited before or during the answer: the new text is answered; after: it stays"
    record_figure(row="C11", promise=promise, figure=figure)
    assert wrong == []
    assert violations == []


@pytest.mark.parametrize("each", [4, FULL])
async def test_a_deleted_question_keeps_no_answer(
    each: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    async with fleet(tmp_path, bots=2, platforms=("discord",), channels=60) as team:
        await team.start()
        changes = changes_in(team, each)
        for at in range(0, len(changes), AT_ONCE):
            await asyncio.gather(*(change.delete() for change in changes[at : at + AT_ONCE]))
        await asyncio.sleep(1)
        left = await left_over(changes, lambda it: not it.said, within_s=60)
        await team.stop()
        violations = (await team.audit()).violations

    figure = (
        f"{each} deletions before, during and after the answer on Discord: {len(left)} answers "
        f"left; auditor: {len(violations)} violations"
    )
    promise = "Deleted before, during or after the answer: no answer stays"
    record_figure(row="C12", promise=promise, figure=figure)
    assert left == []
    assert violations == []
