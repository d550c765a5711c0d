"""Renders what the drills measured as docs/reliability.md: `python -m tests.drills.report`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
# The rows of the fault matrix that are promised so far; one without a figure says so.
ROWS = (
    *("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9"),
    *("B1", "B2", "B3", "B5", "B6", "B7", "B8", "B9"),
    *("C1", "C2", "C9", "C10", "C11", "C12", "D1", "D7", "D8"),
    *("H1", "H2", "H6", "I1", "I4", "I5", "J1", "J2"),
)
HEAD = """\
# What survives: reliability, measured

Assume that a process dies at the worst instant. These are the promises for that case, each with
the drill that tries to break it: real bot processes, a real Redis, Slack and Discord played on
the wire by the tests, and a scripted model. Where a drill broke its promise, the row says
**failed**.

Words: *accepted* means the platform got its acknowledgement, or its event was read; *lost* means
accepted, and neither answered nor told of a failure within 60 s of the last fault; *doubled* means
two visible messages for one part of an answer; *told* means a short notice instead of the answer.
After each drill `firstline audit` reads the store and must find nothing left behind.

A small size of every drill runs in `make test`; `make drill` runs the full sizes and writes this
page anew. One drill alone: `pytest -m drill <test>`, then `python -m tests.drills.report`.

| Row | Promise | Measured | Size | Date | Test |
|---|---|---|---|---|---|
"""


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One measured sentence; a failed drill keeps its row and says so."""

    row: str
    test: str  # path::name, without parameters
    promise: str
    figure: str
    size: Literal["full", "CI"]
    outcome: Literal["held", "failed"]
    date: str  # YYYY-MM-DD, UTC
    variant: str = ""  # one of several of a test, such as a platform


def render(figures: list[Figure]) -> str:
    """The whole page, from the recorded figures alone."""
    known = {each.row for each in figures}
    rows = [_line(each) for each in figures]
    page = HEAD + "".join(rows)
    missing = [row for row in ROWS if row not in known]
    if missing:
        page += f"\nNot measured yet: {', '.join(missing)}.\n"
    return page


def _line(each: Figure) -> str:
    figure = each.figure if each.outcome == "held" else f"**failed**: {each.figure}"
    cells = (each.row, each.promise, figure, each.size, each.date, f"`{each.test}`")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    from tests.drills.figures import read

    PAGE.write_text(render(read()), encoding="utf-8")
