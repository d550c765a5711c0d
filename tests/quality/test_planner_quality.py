"""A real model of half a billion parameters plans through our prompt: `make test-quality`.

The floors are clearly below the figures in docs/benchmarks.md; a change that falls under one
has broken the prompt, the grammar or the planner, whatever the machine.
"""

from __future__ import annotations

import pytest

from benchmarks.quality.cases import load_cases
from benchmarks.quality.run import Score, load, measure

pytestmark = [pytest.mark.quality, pytest.mark.timeout(1800)]
TEST = [case for case in load_cases() if case.split == "test"]


async def _constrained(model: str) -> Score:
    backend = await load(model)
    try:
        return await measure(backend, TEST, "constrained")
    finally:
        await backend.aclose()


async def test_qwen_held_to_the_schema_chooses_and_fills_most_calls() -> None:
    score = await _constrained("qwen")

    assert score.malformed == 0
    assert score.tools_right >= 0.5 * len(score.with_calls)
    assert score.arguments_right >= 0.35 * len(score.with_calls)
    assert score.silence_right >= 0.7 * len(score.without_calls)
