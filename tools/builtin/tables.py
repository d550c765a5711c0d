"""Exact answers about an attached table: a model that reads rows miscounts them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from tools.contract import Labelled, ToolContext, ToolError
from tools.decorator import tool

Operation = Literal["describe", "rows", "count", "sum", "mean", "min", "max", "distinct"]
_MOST_SHOWN, _CELL_CHARS = 20, 200
_MOST_ROWS = 200_000
_MOST_COLUMNS = 200


class Table(NamedTuple):
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


@tool(
    effect="read",
    idempotency="natural",
    timeout_s=20,
    example=(
        "What is the total of the price column in the attached file?",
        {"document": 1, "operation": "sum", "column": "price", "contains": None},
    ),
    needs_documents=True,
)
async def inspect_table(
    context: ToolContext,
    document: Annotated[int, Field(ge=1, le=99)],
    operation: Operation,
    column: Annotated[str, Field(max_length=100)] | None = None,
    contains: Annotated[str, Field(max_length=100)] | None = None,
) -> Labelled:
    """Count, sum, filter or describe the rows of an attached CSV or JSON file."""
    if context.open_document is None:
        raise ToolError("there is no file here")
    found = await context.open_document(document)
    text = await asyncio.to_thread(_told, found.text, operation, column, contains)
    return Labelled(text, found.label)


def _told(text: str, operation: Operation, column: str | None, contains: str | None) -> str:
    table = read_table(text)
    at = None if column is None else _column(table, column)
    where = at if operation in ("rows", "count") else None  # a total is of what matches anywhere
    rows = [row for row in table.rows if _matches(row, where, contains)]
    if operation == "describe":
        shown = _lines(table.columns, table.rows[:3])
        return f"{len(table.rows)} rows, columns: {', '.join(table.columns)}\n{shown}"
    if operation == "rows":
        more = f"\n… {len(rows) - _MOST_SHOWN} more" if len(rows) > _MOST_SHOWN else ""
        return f"{len(rows)} rows\n{_lines(table.columns, rows[:_MOST_SHOWN])}{more}"
    if operation == "count":
        return str(len(rows))
    if at is None:
        raise ToolError(f"name a column; there are: {', '.join(table.columns)}")
    if operation == "distinct":
        values = sorted({row[at] for row in rows})
        more = f" … {len(values) - _MOST_SHOWN} more" if len(values) > _MOST_SHOWN else ""
        shown = ", ".join(value[:_CELL_CHARS] for value in values[:_MOST_SHOWN])
        return f"{len(values)}: {shown}{more}"
    return _number(operation, [row[at] for row in rows])


def _number(operation: Operation, cells: Sequence[str]) -> str:
    found = [value for cell in cells if (value := number_in(cell)) is not None]
    left_out = len(cells) - len(found)
    if not found:
        raise ToolError("there are no numbers in this column")
    total = math.fsum(found)
    results = {"sum": total, "mean": total / len(found), "min": min(found), "max": max(found)}
    told = f"{results[operation]:.10g} (of {len(found)} numbers"
    return f"{told}; {left_out} cells are none)" if left_out else f"{told})"


def read_table(text: str) -> Table:
    """A list of JSON objects, or CSV with a first row of names; raises `ToolError`."""
    table = _from_json(text) or _from_csv(text)
    if table is None or not table.rows:
        raise ToolError("this file is no table: give CSV with names above, or a list of objects")
    return table


def _from_json(text: str) -> Table | None:
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        value = next((each for each in value.values() if isinstance(each, list)), [])
    listed = [each for each in value if isinstance(each, dict)][:_MOST_ROWS]
    columns = tuple(dict.fromkeys(str(name) for each in listed for name in each))[:_MOST_COLUMNS]
    return Table(columns, [tuple(_cell(each.get(name)) for name in columns) for each in listed])


def _cell(value: object) -> str:
    if isinstance(value, str) or value is None:
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _from_csv(text: str) -> Table | None:
    head = text[:4096]
    mark = max(",;\t|", key=head.count)
    reader = csv.reader(io.StringIO(text), delimiter=mark)
    try:
        lines = [row for _, row in zip(range(_MOST_ROWS + 1), reader, strict=False) if any(row)]
    except csv.Error:
        return None
    if len(lines) < 2 or len(lines[0]) < 2:
        return None
    columns = tuple(cell.strip() for cell in lines[0])[:_MOST_COLUMNS]
    width = len(columns)
    return Table(columns, [tuple([*row, *[""] * width][:width]) for row in lines[1:]])


def number_in(cell: str) -> float | None:
    """A number as tables write it: 1234.5, 1,234.50, 1.234,50, 12 %, € 3; else None."""
    text = cell.strip().strip("€$£¥% \u00a0").replace("\u00a0", "").replace(" ", "")
    if text.count(",") == 1 and "." not in text and len(text.partition(",")[2]) != 3:
        text = text.replace(",", ".")
    elif "," in text and text.rfind(",") > text.rfind(".") >= 0:
        text = text.replace(".", "").replace(",", ".")
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _column(table: Table, wanted: str) -> int:
    names = [name.casefold() for name in table.columns]
    try:
        return names.index(wanted.strip().casefold())
    except ValueError:
        raise ToolError(f"there is no such column; there are: {', '.join(table.columns)}") from None


def _matches(row: Sequence[str], at: int | None, contains: str | None) -> bool:
    if not contains:
        return True
    cells = row if at is None else (row[at],)
    return any(contains.casefold() in cell.casefold() for cell in cells)


def _lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (columns, *rows)
    return "\n".join(" | ".join(cell[:_CELL_CHARS] for cell in line) for line in lines)
