"""Killed around every effect that others can see, once and twice in a row (row A2)."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.drills.effects import MAYBE, TOOLS, Effects, with_effects
from tests.drills.figures import RecordFigure
from tests.drills.fleet import Fleet, fleet, real_redis
from tests.drills.places import Question, a_sum, settle
from tests.drills.processes import ForkServer, fork_server

PROMISE = (
    "A process may die before or after any effect: the answer comes once, a tool with a key runs "
    "once, one without at most once, and then the person is asked"
)
T = TypeVar("T")
AT_ONCE = 12
SETTLE_S = 60


@dataclass(frozen=True, slots=True)
class Point:
    when: str
    label: str
    nth: int

    def rule(self, armed: Path) -> dict[str, Any]:
        pattern = re.escape(self.label)
        return {"effect": pattern, "when": self.when, "nth": self.nth, "armed": str(armed)}

    def __str__(self) -> str:
        return f"{self.when} {self.label} #{self.nth}"


@pytest.mark.parametrize(
    ("platform", "singles", "pairs"),
    [
        ("discord", 6, 0),
        pytest.param("slack", 0, 200, marks=[pytest.mark.drill, pytest.mark.timeout(1800)]),
        pytest.param("discord", 0, 200, marks=[pytest.mark.drill, pytest.mark.timeout(1800)]),
    ],
)
async def test_no_effect_is_lost_or_doubled_whatever_instant_a_bot_dies_at(
    platform: str, singles: int, pairs: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    async with fork_server() as server, real_redis() as redis_url:
        lab = Lab(server, redis_url, tmp_path, platform)
        alive = await lab.live()
        assert (alive.deaths, alive.faults) == (0, ())
        points: Sequence[Point] = alive.trace
        if singles:
            points = _some([point for point in points if point.when == "after"], singles)
        once = dict(zip(points, await _all(lab.live(point) for point in points), strict=True))
        couples = [(one, two) for one, life in once.items() for two in life.trace]
        chosen = _some(couples, pairs) if pairs else []
        twice = dict(zip(chosen, await _all(lab.live(*pair) for pair in chosen), strict=True))

    lives = {(point,): life for point, life in once.items()} | twice
    broken = [f"{' then '.join(map(str, died))}: {life.faults}" for died, life in lives.items()]
    broken = [each for each, life in zip(broken, lives.values(), strict=True) if life.faults]
    figure = (
        f"{len(points)} of {len(alive.trace)} points, {len(chosen)} of {len(couples):,} pairs "
        f"({sum(life.deaths for life in lives.values()):,} deaths): {len(broken)} violations"
    )
    record_figure(row="A2", promise=PROMISE, figure=f"{platform.title()}: {figure}")
    assert broken == []


def _some(found: Sequence[T], count: int) -> Sequence[T]:
    """`count` of them, evenly spread; all when `count` is 0."""
    if not count or count >= len(found):
        return found
    return [found[(n * len(found)) // count] for n in range(count)]


async def _all(lives: Iterable[Awaitable[Life]]) -> list[Life]:
    return await asyncio.gather(*lives)


@dataclass(frozen=True, slots=True)
class Life:
    """What one run came to: `faults` are empty when every promise held."""

    deaths: int
    faults: tuple[str, ...]
    trace: tuple[Point, ...]  # the effects of the process that died of nothing


class Lab:
    """Runs one question after another, each in a world of its own."""

    def __init__(self, server: ForkServer, redis_url: str, folder: Path, platform: str) -> None:
        self._server, self._redis_url, self._platform = server, redis_url, platform
        self._folder, self._runs, self._places = folder, 0, asyncio.Semaphore(AT_ONCE)

    async def live(self, *points: Point) -> Life:
        """Ask, die at each point in turn, and see what became of the question."""
        async with self._places, Effects() as effects:
            self._runs += 1
            folder = self._folder / f"{self._platform}{self._runs}"
            folder.mkdir()
            tools = folder / "tools.py"
            tools.write_text(TOOLS + f'\n\nURL = "{effects.url}"\n')
            async with fleet(
                folder,
                bots=1,
                platforms=[self._platform],
                policy=with_effects,
                settings=f'[tools]\nfile = "{tools}"\n',
                server=self._server,
                redis_url=self._redis_url,
                lease_s=1.0,
                channels=1,
            ) as team:
                return await _one_life(team, effects, folder, points)


async def _one_life(team: Fleet, effects: Effects, folder: Path, points: Sequence[Point]) -> Life:
    armed, trace = folder / "armed", folder / "trace"
    follow = {"trace": str(trace), "armed": str(armed)}
    (place,), (bot,) = team.places, team.bots
    rules = [[point.rule(armed)] for point in points] + [[follow]]
    await team.start(rules=rules[0])
    await place.ask(_a_change())  # so that the bot has been heard here before
    await settle(team.places, within_s=SETTLE_S, quiet_s=0.3)
    armed.touch()
    question = _a_change()
    await place.ask(question)
    deaths = 0
    for following in rules[1:]:
        if not await _dies(team):
            break
        deaths += 1
        bot.rules = following
        await bot.start()
    tally = await team.settle()
    faults = [] if tally.is_clean and not tally.told else [f"{tally} ({question.said})"]
    faults += _effects_faults(effects, question)
    codes = await team.stop()
    if codes == [-signal.SIGKILL]:  # it died on its way out, which is an instant as any other
        deaths += 1
        bot.rules = []
        await bot.start()
        tally = await team.settle()
        faults += [] if tally.is_clean else [f"after a death at the end: {tally}"]
        codes = await team.stop()
    faults += [f"exit code {code}" for code in codes if code]
    faults += map(str, (await team.audit()).violations)
    return Life(deaths, tuple(faults), _points_of(trace))


def _a_change() -> Question:
    """A sum whose number is kept and sent, too."""
    question = a_sum("")
    (answer,) = question.answers
    question.answers = (answer.removeprefix("found: "),)
    return question


async def _dies(team: Fleet) -> bool:
    """Whether the bot dies before the question is answered and closed."""
    (bot,) = team.bots
    death = asyncio.create_task(bot.died(2 * SETTLE_S), name="death")
    answered = asyncio.create_task(settle(team.places, within_s=SETTLE_S), name="answer")
    await asyncio.wait((death, answered), return_when=asyncio.FIRST_COMPLETED)
    for task in (death, answered):
        task.cancel()
    await asyncio.wait((death, answered))
    return bot.pid is None


def _effects_faults(effects: Effects, question: Question) -> list[str]:
    number = question.text.split()[-1].partition("*")[0]
    kept, sent = effects.kept[number], effects.sent[number]
    faults = []
    if kept != 1:
        faults.append(f"a tool with a key ran {kept} times")
    if sent > 1 or (sent == 0 and not any(MAYBE in text for text in question.said)):
        faults.append(f"a tool without a key ran {sent} times and nobody was asked")
    return faults


def _points_of(trace: Path) -> tuple[Point, ...]:
    """Every effect of a traced life, numbered among those of the same label."""
    counted: Counter[tuple[str, str]] = Counter()
    points = []
    for line in trace.read_text().splitlines() if trace.exists() else []:
        when, _, label = line.partition(" ")
        counted[when, label] += 1
        points.append(Point(when, label, counted[when, label]))
    return tuple(points)
