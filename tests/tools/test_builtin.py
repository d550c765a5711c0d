"""The tools that come with firstline."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agents.planning import context_for
from tools.builtin.arithmetic import calculate, evaluate
from tools.builtin.clock import current_time, find_zone
from tools.builtin.conversation_search import search_conversation
from tools.builtin.look import look
from tools.contract import Labelled, ToolCall, ToolError

CONTEXT = context_for(ToolCall("1", "x", {}))
NUMBERS = st.integers(0, 99).map(str)
SUMS = st.recursive(
    NUMBERS,
    lambda each: st.tuples(each, st.sampled_from("+-*"), each).map(
        lambda parts: f"({parts[0]}{parts[1]}{parts[2]})"
    ),
    max_leaves=12,
)


@given(SUMS)
@settings(max_examples=200)
def test_a_safe_expression_has_the_value_python_gives_it(expression: str) -> None:
    assert evaluate(expression) == eval(expression)  # noqa: S307  digits, signs, brackets


@given(st.text(max_size=220) | st.text("0123456789.+-*/%()eroundsqt, ^", max_size=60))
@settings(max_examples=300, deadline=500)
def test_any_text_gives_a_number_or_a_tool_error(text: str) -> None:
    with contextlib.suppress(ToolError):
        assert isinstance(evaluate(text), int | float)


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9", "2**99999999", "x", "().__class__", "__import__('os')", "'a'*9", "1 if 1 else 2",
        "round(5, -10**9)", "round(5, -9999999999)", "1/0", "1e999", "(" * 100, "-" * 199 + "1",
        "True", "1e308*10", "(-8)**0.5", "[1]", "", "sqrt(-1)", "min(1)", "1<<999999", "1j",
    ],
)  # fmt: skip
def test_hostile_expressions_are_refused_at_once(expression: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ToolError):
        evaluate(expression)
    assert time.perf_counter() - began < 1


async def test_spoken_signs_and_grouped_digits_are_understood() -> None:
    said = await calculate.run(CONTEXT, {"expression": "1,234 × 2 ÷ 4"})
    assert isinstance(said, Labelled)
    assert said.text == "617"


async def test_the_time_comes_from_the_injected_clock() -> None:
    said = await current_time.run(CONTEXT, {"zone": "tokyo"})
    assert isinstance(said, Labelled)
    assert said.text == "Monday 04 May 2026, 21:00 (Asia/Tokyo, UTC+0900)"


@pytest.mark.parametrize(
    ("asked", "zone"),
    [
        ("Europe/Paris", "Europe/Paris"), ("new york", "America/New_York"), ("utc", "UTC"),
        ("America/NewYork", "America/New_York"), ("America/Tokyo", "Asia/Tokyo"),
    ],
)  # fmt: skip
def test_zones_and_cities_are_found(asked: str, zone: str) -> None:
    assert find_zone(asked) == zone


def test_an_unknown_zone_is_refused_with_the_nearest() -> None:
    with pytest.raises(ToolError, match="did you mean Europe/Berlin"):
        find_zone("Europe/Berlim")


async def test_nothing_found_says_so_and_a_missing_picture_is_a_tool_error() -> None:
    said = await search_conversation.run(CONTEXT, {"query": "printer"})
    assert isinstance(said, Labelled)
    assert said.text == "Nothing about that was said in this conversation."
    with pytest.raises(ToolError, match="there is no image"):
        await look.run(CONTEXT, {"image": 1, "question": "?"})
