"""The page of figures: in step with what was recorded, and honest about what failed."""

from __future__ import annotations

from pathlib import Path

from tests.drills.figures import merge, read, write
from tests.drills.report import PAGE, Figure, render

ROOT = Path(__file__).parents[2]


def figure(**changes: str) -> Figure:
    fields = {
        "row": "B1",
        "test": "tests/drills/test_x.py::test_x",
        "promise": "Nothing is lost",
        "figure": "100 kills: 0 lost",
        "size": "full",
        "outcome": "held",
        "date": "2026-01-01",
    }
    return Figure(**(fields | changes))  # type: ignore[arg-type]


def test_the_page_shows_the_recorded_figures() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(read()), (
        "write it anew: python -m tests.drills.report"
    )


def test_every_recorded_figure_names_a_test_that_exists() -> None:
    for each in read():
        path, _, name = each.test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


def test_a_small_size_never_hides_a_full_one() -> None:
    full, small = figure(), figure(size="CI", figure="3 kills: 0 lost")

    assert merge([full], [small]) == [full]
    assert merge([small], [full]) == [full]


def test_the_platforms_of_one_drill_keep_a_figure_each() -> None:
    both = [figure(variant="discord"), figure(variant="slack")]

    assert merge([both[0]], [both[1]]) == both


def test_rows_are_sorted_as_a_person_would() -> None:
    rows = [figure(row=row) for row in ("B10", "B2", "A7")]

    assert [each.row for each in merge([], rows)] == ["A7", "B2", "B10"]


def test_a_failed_drill_is_shown_as_failed() -> None:
    assert "**failed**: 100 kills: 0 lost" in render([figure(outcome="failed")])


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    write([figure()], file)

    assert read(file) == [figure()]
