"""Exact answers about attached tables."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.testing.conversation import Conversation
from tests.agents.planning import context_for
from tools.builtin.tables import inspect_table, number_in, read_table
from tools.contract import Labelled, Opened, ToolCall, ToolError
from tools.labels import Integrity, Label

CSV = "name,price,city\nhammer,12.50,Lisbon\nsaw,7.25,Porto\nnail,,Lisbon\ndrill,99,porto\n"
JSON = json.dumps([{"name": "hammer", "price": 12.5}, {"name": "saw", "tags": ["a", "b"]}])
STRANGERS = Label(Integrity.UNTRUSTED)


async def asked(text: str, operation: str, **more: object) -> str:
    async def opened(document: int) -> Opened:
        return Opened("a.csv", text, STRANGERS)

    context = replace(context_for(ToolCall("1", "x", {})), open_document=opened)
    given = {"document": 1, "operation": operation, "column": None, "contains": None, **more}
    found = await inspect_table.run(context, given)
    assert isinstance(found, Labelled)
    assert found.label == STRANGERS
    return found.text


@pytest.mark.parametrize(
    ("operation", "more", "told"),
    [
        ("describe", {}, "4 rows, columns: name, price, city\nname | price | city\nhammer"),
        ("count", {}, "4"),
        ("count", {"contains": "lisbon"}, "2"),
        ("count", {"contains": "PORTO", "column": "city"}, "2"),
        ("sum", {"column": "price"}, "118.75 (of 3 numbers; 1 cells are none)"),
        ("mean", {"column": "Price", "contains": "Porto"}, "53.125 (of 2 numbers)"),
        ("min", {"column": "price"}, "7.25 (of 3"),
        ("max", {"column": "price"}, "99 (of 3"),
        ("distinct", {"column": "city"}, "3: Lisbon, Porto, porto"),
        ("rows", {"contains": "saw"}, "1 rows\nname | price | city\nsaw | 7.25 | Porto"),
    ],
)
async def test_what_is_asked_of_a_table_is_told_exactly(
    operation: str, more: dict[str, object], told: str
) -> None:
    assert (await asked(CSV, operation, **more)).startswith(told)


async def test_a_list_of_objects_is_a_table_too() -> None:
    assert (await asked(JSON, "describe")).startswith("2 rows, columns: name, price, tags")
    assert (await asked(f'{{"items": {JSON}}}', "sum", column="price")).startswith("12.5 (of 1")
    assert '["a", "b"]' in await asked(JSON, "rows")


@pytest.mark.parametrize("text", ["", "hello", "[1, 2]", "{}", "a,b\n", '[{"a": ', "[" * 10_000])
async def test_what_is_no_table_is_told(text: str) -> None:
    with pytest.raises(ToolError, match="no table"):
        await asked(text, "count")


@pytest.mark.parametrize("more", [{"column": "prise"}, {}, {"column": "name"}])
async def test_a_wrong_column_names_those_that_are_there(more: dict[str, object]) -> None:
    with pytest.raises(ToolError, match=r"name, price, city|no numbers"):
        await asked(CSV, "sum", **more)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1234.5", 1234.5), ("1,234.50", 1234.5), ("1.234,50", 1234.5), ("12 %", 12), ("€ 3", 3),
        ("-7", -7), ("1e3", 1000), ("1,5", 1.5), ("1,500", 1500), ("1 000", 1000), ("", None),
        ("n/a", None), ("nan", None), ("inf", None), ("1-2", None),
    ],
)  # fmt: skip
def test_numbers_are_read_as_tables_write_them(cell: str, value: float | None) -> None:
    assert number_in(cell) == value


@given(st.text(max_size=400) | st.text(',;\t|"\n ab1{}[]:', max_size=200))
def test_any_text_is_a_table_or_a_tool_error(text: str) -> None:
    with contextlib.suppress(ToolError):
        table = read_table(text)
        assert {len(row) for row in table.rows} == {len(table.columns)}


@given(st.lists(st.floats(-1e9, 1e9).map(lambda value: round(value, 2)), min_size=1, max_size=50))
def test_the_numbers_of_a_column_are_all_found(values: list[float]) -> None:
    text = "a,b\n" + "\n".join(f"x,{value}" for value in values)
    assert [number_in(row[1]) for row in read_table(text).rows] == values


async def test_a_table_in_slack_is_opened_whole_though_a_prompt_holds_less(
    slack_conversation: Conversation,
) -> None:
    rows = "\n".join(f"article {n},{n}" for n in range(20_000))
    model = slack_conversation.model
    model.calls("inspect_table", document=1, operation="sum", column="price", contains=None)
    model.says("199990000")
    asked_of = await slack_conversation.ask(
        "The total?", [("a.csv", f"name,price\n{rows}".encode())]
    )

    assert asked_of.startswith("199990000\n")
    assert "I read only the beginning" in asked_of
    told = "\n".join(message.text for message in model.requests[-1].messages)
    assert "199990000 (of 20000 numbers)" in told


async def test_without_a_file_the_tool_is_not_offered(slack_conversation: Conversation) -> None:
    slack_conversation.model.says("Hello.")
    await slack_conversation.ask("Hi")
    told = "".join(message.text for message in slack_conversation.model.requests[0].messages)
    assert "inspect_table" not in told
