"""`python -m benchmarks.quality --model qwen [--mode constrained] [--split dev] [--write]`.

Prints, for each model and mode: right tools, right arguments, no call where none is right,
malformed steps, tokens and seconds. The prompt was shaped on the split `dev` at most; the
figures of `test` are the ones to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import get_args

from benchmarks.quality.cases import Split, load_cases
from benchmarks.quality.run import MODELS, Mode, Score, load, measure
from benchmarks.quality.weights import WeightsError
from benchmarks.report import Table, write

_COLUMNS = (
    "model", "decoding", "right tools", "arguments right too", "no call where none is right",
    "malformed steps", "tokens read, written", "s a case",
)  # fmt: skip


async def main(
    models: Sequence[str], modes: Sequence[Mode], split: Split, *, verbose: bool
) -> Table:
    cases = [case for case in load_cases() if case.split == split]
    table = Table(f"Planner quality on {len(cases)} cases over 12 tools ({split} split)", _COLUMNS)
    for model in models:
        backend = await load(model)
        try:
            for mode in modes:
                score = await measure(backend, cases, mode, verbose=verbose)
                table.add(model, mode, *row(score))
                print(table.rows[-1], flush=True)
        finally:
            await backend.aclose()
    return table


def row(score: Score) -> tuple[str, ...]:
    calls, silence = len(score.with_calls), len(score.without_calls)
    rate = score.malformed / score.generations
    return (
        f"{score.tools_right} of {calls} ({score.tools_right / calls:.0%})",
        f"{score.arguments_right} of {calls} ({score.arguments_right / calls:.0%})",
        f"{score.silence_right} of {silence}",
        f"{score.malformed} of {score.generations} ({rate:.0%})",
        f"{score.usage.prompt_tokens:,}, {score.usage.completion_tokens:,}",
        f"{score.seconds_a_case:.1f}",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, action="append", help="default: all")
    parser.add_argument("--mode", choices=get_args(Mode), action="append", help="default: both")
    parser.add_argument("--split", choices=get_args(Split), default="test")
    parser.add_argument("--verbose", action="store_true", help="print every case")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    given = parser.parse_args()
    try:
        made = asyncio.run(
            main(
                given.model or MODELS,
                given.mode or get_args(Mode),
                given.split,
                verbose=given.verbose,
            )
        )
    except WeightsError as error:
        sys.exit(str(error))
    print(f"\n{made.markdown()}")
    if given.write:
        write([made], "quality")
