"""What the drills measured: `figures.json` beside this file, one entry for each row and test.

Only full-size drills write it (or any drill under `FIRSTLINE_DRILL_RECORD=1`), so that
`make test` leaves no trace. The page is written anew with it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import pytest

from tests.drills import report
from tests.drills.report import Figure

FILE = Path(__file__).with_name("figures.json")
RECORD = "FIRSTLINE_DRILL_RECORD"


class RecordFigure(Protocol):
    def __call__(self, *, row: str, promise: str, figure: str) -> None: ...


def read(file: Path = FILE) -> list[Figure]:
    return msgspec.json.decode(file.read_bytes(), type=list[Figure]) if file.exists() else []


def merge(known: list[Figure], new: list[Figure]) -> list[Figure]:
    """The newest figure of each row and test; a CI size never hides a full one."""
    kept = {(each.row, each.test, each.variant): each for each in known}
    for each in new:
        old = kept.get((each.row, each.test, each.variant))
        if each.size == "full" or old is None or old.size == "CI":
            kept[each.row, each.test, each.variant] = each
    return sorted(kept.values(), key=_order)


def _order(figure: Figure) -> tuple[str, int, str, str]:
    letters = figure.row.rstrip("0123456789")
    number = int(figure.row[len(letters) :] or 0)
    return letters, number, figure.test, figure.variant


def write(figures: list[Figure], file: Path = FILE) -> None:
    text = msgspec.json.format(msgspec.json.encode(figures), indent=1)
    half = file.with_suffix(".half")
    half.write_bytes(text + b"\n")
    half.replace(file)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _variant(node: pytest.Item) -> str:
    """What tells the figures of one parametrised test apart: its parameters that are words."""
    values = node.callspec.params.values() if hasattr(node, "callspec") else ()
    return " ".join(value for value in values if isinstance(value, str))


@pytest.fixture
def record_figure(request: pytest.FixtureRequest) -> Iterator[RecordFigure]:
    """Call it once a row at the end of a drill, before the last assertions; it prints too.

    `figure` says what was counted: "100 kills: 0 lost, 0 doubled".
    """
    node = request.node
    test, variant = node.nodeid.partition("[")[0], _variant(node)
    size: Literal["full", "CI"] = "full" if node.get_closest_marker("drill") else "CI"
    failed_before, new = request.session.testsfailed, list[Figure]()

    def record(*, row: str, promise: str, figure: str) -> None:
        print(f"{row}: {figure}")
        new.append(Figure(row, test, promise, figure, size, "held", _today(), variant))

    yield record
    if size == "CI" and os.environ.get(RECORD) != "1":
        return
    with _alone():
        known = read()
        if request.session.testsfailed > failed_before:
            new = new or [each for each in known if (each.test, each.variant) == (test, variant)]
            new = [msgspec.structs.replace(each, outcome="failed", date=_today()) for each in new]
        figures = merge(known, new)
        write(figures)
        report.PAGE.write_text(report.render(figures), encoding="utf-8")


@contextmanager
def _alone() -> Iterator[None]:
    """Drills may run beside each other; each keeps the others' figures."""
    with FILE.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
