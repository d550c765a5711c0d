from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.chat.slack_blocks import AGAIN, DOWN, PART_CHARS, UP, content, under_answer
from adapters.chat.slack_tables import CHARS, COLUMNS, ROWS
from adapters.chat.types import Offers
from bot.testing.slack.blocks import fault_of, text_of

TABLE = "| Part | Price |\n|:--|--:|\n| Fan | 12 |\n| **Belt** | `7` |"


def kinds(text: str) -> list[str]:
    return [each["type"] for each in content("C1", text, tables=True)["blocks"]]


def table(rows: int, columns: int, cell: str = "x") -> str:
    line = "|" + f" {cell} |" * columns
    return "\n".join([line, "|" + "-|" * columns, *[line] * (rows - 1)])


def test_a_table_becomes_a_table_between_its_texts() -> None:
    blocks = content("C1", f"Here:\n\n{TABLE}\n\nThat is all.", tables=True)["blocks"]

    assert [each["type"] for each in blocks] == ["markdown", "table", "markdown"]
    assert text_of(blocks[1]) == "Part | Price\nFan | 12\nBelt | 7"
    assert [each["align"] for each in blocks[1]["column_settings"]] == ["left", "right"]
    assert fault_of(blocks) == ""


@pytest.mark.parametrize(
    "text",
    [
        table(ROWS + 1, 2),
        table(2, COLUMNS + 1),
        table(50, 10, "x" * (CHARS // 500)),
        f"```\n{TABLE}\n```",
        "| a |\n|-|\n| more | than | the header |",
        "| only | a header |\n|-|-|",
        "a | b\nno rule",
    ],
)
def test_what_is_no_table_or_too_large_a_one_stays_text(text: str) -> None:
    assert kinds(text) == ["markdown"]


def test_the_largest_table_is_taken() -> None:
    assert kinds(table(ROWS, COLUMNS)) == ["table"]


def test_one_table_is_shown_as_such_and_the_second_as_text() -> None:
    assert kinds(f"{TABLE}\n\nand\n\n{TABLE}") == ["table", "markdown"]


def test_a_cell_pings_nobody() -> None:
    text = content("C1", TABLE.replace("Fan", "<!channel> <@U1>"), tables=True)["blocks"][0]

    assert "<" not in text_of(text)


def test_under_an_answer_are_the_buttons_that_were_asked_for() -> None:
    buttons = under_answer("C1:1.5", Offers(again=True, rating=True), rating=True)
    blocks = content("C1", "done", buttons=buttons)["blocks"]

    assert list(buttons) == [AGAIN, UP, DOWN]
    assert {each["value"] for each in blocks[-1]["elements"]} == {"C1:1.5"}
    assert under_answer("C1:1.5", Offers(again=False, rating=False), rating=True) == {}


lines = st.text(alphabet="|-: x`~*\\<!@&>\n#", max_size=400)


@settings(max_examples=300, deadline=None)
@given(text=lines, around=st.sampled_from(["", TABLE, table(ROWS, COLUMNS), "x" * PART_CHARS]))
def test_whatever_the_text_slack_takes_its_blocks(text: str, around: str) -> None:
    shown = f"{text}\n{around}"[:PART_CHARS]
    buttons = under_answer("C1:1.5", Offers(again=True, rating=True), rating=True)
    blocks = content("C1", shown, buttons=buttons, tables=True)["blocks"]

    assert fault_of(blocks) == ""
    assert not any(mark in text_of(each) for each in blocks for mark in ("<!channel", "<@U"))


@settings(max_examples=300, deadline=None)
@given(cells=st.lists(st.lists(st.text("ab1", min_size=1, max_size=9), min_size=2, max_size=4)))
def test_no_cell_of_a_table_is_lost(cells: list[list[str]]) -> None:
    width = max((len(row) for row in cells), default=2)
    rows = ["| " + " | ".join(row) + " |" for row in (["h"] * width, ["-"] * width, *cells)]
    blocks = content("C1", "\n".join(rows), tables=True)["blocks"]

    shown = "\n".join(text_of(each) for each in blocks)
    assert all(cell in shown for row in cells for cell in row)
