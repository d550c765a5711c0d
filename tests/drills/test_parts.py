"""A long answer in parts, and a bot that dies between them (row D7)."""

from __future__ import annotations

import asyncio
import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from adapters.models.scripted import Reply, Say, Step, demo_policy
from agents.ports import ModelRequest
from tests.drills.figures import RecordFigure
from tests.drills.fleet import fleet, real_redis
from tests.drills.places import Question, Tally, jitter
from tests.drills.processes import ForkServer, fork_server

SETTLE_S = 45
PARAGRAPHS = 12
# Characters of a paragraph; the answer takes three or four messages of the platform.
CHARS = {"slack": 2_600, "discord": 500}
SETTINGS = "[planner]\nmax_answer_tokens = 30000\n"
POSTS = {"slack": ".*chat.postMessage", "discord": "POST .*/messages"}
_numbers = itertools.count(100)


@pytest.mark.parametrize(
    ("platform", "kills", "lanes"),
    [
        ("discord", 3, 3),
        pytest.param("slack", 150, 10, marks=[pytest.mark.drill, pytest.mark.timeout(1200)]),
        pytest.param("discord", 150, 10, marks=[pytest.mark.drill, pytest.mark.timeout(1200)]),
    ],
)
async def test_every_part_of_a_long_answer_stands_there_once_and_in_order(
    platform: str, kills: int, lanes: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    async with fork_server() as server, real_redis() as redis_url:
        each = kills // lanes
        ended = await asyncio.gather(
            *(
                _lane(server, redis_url, tmp_path / str(lane), platform, each, seed=lane)
                for lane in range(lanes)
            )
        )
    tally = sum((each[0] for each in ended), start=Tally())
    died, parts = sum(each[1] for each in ended), sum(each[2] for each in ended)
    record_figure(
        row="D7",
        promise="A long answer's parts stand there once and in order, whatever dies in between",
        figure=f"{died} kills between the parts on {platform.title()}, {parts} parts, {tally}",
    )
    assert tally.is_clean
    assert tally.told == 0
    assert died >= 0.9 * kills
    assert [violation for each in ended for violation in each[3]] == []


FILE_SETTINGS = SETTINGS + "[limits]\nmax_parts = 2\n"
SENTENCE = "The whole answer, as a file."
SHARES = {"slack": (".*files.completeUploadExternal", 1), "discord": ("POST .*/messages", 3)}
BETWEEN = (("redis SENT", 2, "before"), ("redis SENT", 2, "after"))


@pytest.mark.parametrize(
    ("platform", "kills"),
    [
        ("slack", 2),
        ("discord", 2),
        pytest.param("slack", 60, marks=[pytest.mark.drill, pytest.mark.timeout(1200)]),
        pytest.param("discord", 60, marks=[pytest.mark.drill, pytest.mark.timeout(1200)]),
    ],
)
async def test_a_file_behind_the_texts_is_there_once_whatever_dies_in_between(
    platform: str, kills: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    effect, nth = SHARES[platform]
    instants = [(effect, nth, "after"), *BETWEEN, (effect, nth, "before")]
    policy, died = _Long(CHARS[platform]), 0
    async with fleet(
        tmp_path,
        bots=1,
        platforms=[platform],
        policy=policy,
        settings=FILE_SETTINGS,
        lease_s=1.0,
        context_tokens=100_000,
    ) as team:
        (place,), (bot,) = team.places, team.bots
        for label, number, when in itertools.islice(itertools.cycle(instants), kills):
            await team.start(rules=[{"effect": label, "nth": number, "when": when}])
            question = policy.question()
            parts = (question.answers[0], "This goes on:", SENTENCE)
            await place.ask(Question("", question.text, parts))
            await bot.died(SETTLE_S / 3)
            died += 1
            bot.rules = []
            await bot.start()
            tally = await team.settle(within_s=SETTLE_S)
            await bot.end()
        files = place.files()
        violations = (await team.audit()).violations

    record_figure(
        row="D7",
        promise="A file behind the texts is there once, whatever dies in between",
        figure=f"{died} kills around a file's share on {platform.title()}, {tally}, "
        f"{len(files)} files",
    )
    assert tally.is_clean
    assert tally.told == 0
    assert violations == []
    assert len(files) == died
    assert all(f".{PARAGRAPHS}]".encode() in content for content in files)


async def _lane(
    server: ForkServer, redis_url: str, folder: Path, platform: str, kills: int, *, seed: int
) -> tuple[Tally, int, int, list[str]]:
    """One bot that dies between the parts of one answer after another."""
    dice, died, tally = jitter(seed), 0, Tally()
    policy = _Long(CHARS[platform])
    async with fleet(
        folder,
        bots=1,
        platforms=[platform],
        policy=policy,
        settings=SETTINGS,
        server=server,
        redis_url=redis_url,
        lease_s=1.0,
        context_tokens=100_000,
    ) as team:
        (place,), (bot,) = team.places, team.bots
        for _ in range(kills):
            await team.start(rules=[_between(platform, dice)])
            await place.ask(policy.question())
            try:
                await bot.died(SETTLE_S / 3)
                died += 1
            except TimeoutError:
                await bot.kill()
            bot.rules = []
            await bot.start()
            tally = await team.settle(within_s=SETTLE_S)
            await bot.end()
        parts = sum(len(question.said) for question in place.questions)
        violations = [str(each) for each in (await team.audit()).violations]
    return tally, died, parts, violations


def _between(platform: str, dice: random.Random) -> dict[str, Any]:
    """Die around the second part's post, or around the note that a part is out."""
    when = dice.choice(("before", "after"))
    if dice.random() < 0.5:
        return {"effect": "redis SENT", "nth": dice.choice((1, 2)), "when": when}
    return {"effect": POSTS[platform], "nth": dice.choice((2, 3)), "when": when}


class _Long:
    """A model whose answers are long: numbered paragraphs of words that never repeat."""

    def __init__(self, chars: int) -> None:
        self._chars = chars

    def question(self) -> Question:
        number = next(_numbers)
        marks = tuple(f"[{number}.{n}]" for n in range(1, PARAGRAPHS + 1))
        return Question("", f"Tell me everything about item {number}.", marks)

    def __call__(self, request: ModelRequest) -> Reply:
        reply = demo_policy(request)
        text = request.messages[-1].text
        number = text.rpartition("item ")[2].partition(".")[0]
        answer = "\n\n".join(self._paragraph(number, n) for n in range(1, PARAGRAPHS + 1))
        if isinstance(reply, Say):
            return Say(answer, chunk=0)
        if isinstance(reply, Step):
            step = {"action": "final", "arguments": {"answer": answer}}
            return Step({"thought": "I know it.", "step": step}, chunk=0)
        return reply

    def _paragraph(self, number: str, n: int) -> str:
        dice = random.Random(f"{number}.{n}")
        words = [f"[{number}.{n}]"]
        length = len(words[0])
        while length < self._chars:
            words.append("".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(3, 9))))
            length += len(words[-1]) + 1
        return " ".join(words) + "."
