"""Conversions between units: exact, and nothing but units is ever evaluated."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agents.planning import context_for
from tools.builtin.units import convert, convert_units
from tools.contract import Labelled, ToolCall, ToolError

CONTEXT = context_for(ToolCall("1", "x", {}))


@pytest.mark.parametrize(
    ("value", "source", "target", "wanted"),
    [
        (42, "km", "miles", 26.0976),
        (20, "celsius", "fahrenheit", 68),
        (68, "°F", "°C", 20),
        (1, "m2", "square feet", 10.7639),
        (1, "m²", "cm^2", 10_000),
        (90, "km/h", "m/s", 25),
        (1, "GiB", "MB", 1073.741824),
        (3, "Pounds", "KG", 1.360777),
    ],
)
def test_a_quantity_keeps_its_size(value: float, source: str, target: str, wanted: float) -> None:
    assert convert(value, source, target) == pytest.approx(wanted, rel=1e-5)


@given(
    st.floats(-1e6, 1e6),
    st.sampled_from(
        [("km", "miles"), ("kg", "pounds"), ("celsius", "kelvin"), ("litre", "gallon")]
    ),
)
@settings(deadline=None)
def test_there_and_back_is_where_it_began(value: float, units: tuple[str, str]) -> None:
    there = convert(value, *units)
    assert convert(there, *units[::-1]) == pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("usd", "eur", "no unit 'usd'"),
        ("kg", "m", "same thing"),
        ("__import__('os')", "m", "is no unit"),
        ("m**9**9", "m", "is no unit"),
        ("m^2^2", "m", "is no unit"),
        ("9", "m", "is no unit"),
        ("", "m", "is no unit"),
    ],
)
def test_what_is_no_unit_is_refused_by_name(source: str, target: str, reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        convert(1, source, target)


@given(st.text(max_size=40) | st.text("kmsg/^*23 °µ()'_.", max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_unit_or_a_tool_error_at_once(text: str) -> None:
    began = time.perf_counter()
    with contextlib.suppress(ToolError):
        convert(1, text, "m")
    assert time.perf_counter() - began < 5


async def test_the_answer_names_both_units() -> None:
    said = await convert_units.run(CONTEXT, {"value": 42, "source": "km", "target": "miles"})
    assert isinstance(said, Labelled)
    assert said.text == "42 km = 26.09759007 miles"
