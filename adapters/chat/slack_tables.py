"""Markdown tables as Slack's own table blocks, where they keep its limits. Pure functions.

One table of a message becomes a block, the text around it stays Markdown
(docs.slack.dev/reference/block-kit/blocks/table-block, 2026-08).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

ROWS, COLUMNS, CHARS = 100, 20, 10_000  # of one table; characters over all its cells
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_RULE = re.compile(r" {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")
_CELL_END = re.compile(r"(?<!\\)\|")
_MARKS = re.compile(r"(\*\*|__|`)(?=\S)(.+?)(?<=\S)\1")

Row = tuple[str, ...]


def with_table(text: str) -> tuple[str, list[Row], list[str], str] | None:
    """What is before the first table that fits, its rows, how its columns are aligned, and what
    is after it; None where there is no such table."""
    lines, fence = text.split("\n"), ""
    for at, line in enumerate(lines):
        if found := _FENCE.match(line):
            if not fence:
                fence = found[1]
            elif found[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
        if fence or at + 1 >= len(lines) or "|" not in line or not _is_rule(lines[at + 1]):
            continue
        end = at + 2
        while end < len(lines) and "|" in lines[end] and lines[end].strip():
            end += 1
        rows = [_cells(each) for each in (line, *lines[at + 2 : end])]
        if _fits(rows, _cells(lines[at + 1])):
            aligned = [_align(each) for each in _cells(lines[at + 1])]
            return "\n".join(lines[:at]), rows, aligned, "\n".join(lines[end:])
    return None


def table_block(rows: Sequence[Row], aligned: Sequence[str]) -> dict[str, Any]:
    """A cell needs at least one character; a short row is filled up."""
    width = len(rows[0])
    filled = [(*row, *("",) * (width - len(row))) for row in rows]
    return {
        "type": "table",
        "column_settings": [{"align": each, "is_wrapped": True} for each in aligned],
        "rows": [[{"type": "raw_text", "text": _bare(cell) or " "} for cell in r] for r in filled],
    }


def _fits(rows: Sequence[Row], rule: Row) -> bool:
    """The rule names the columns; a row with more would lose some."""
    return (
        len(rows[0]) == len(rule) <= COLUMNS
        and 1 < len(rows) <= ROWS
        and all(len(row) <= len(rule) for row in rows)
        and sum(max(len(cell), 1) for row in rows for cell in row) + len(rows) * COLUMNS <= CHARS
    )


def _is_rule(line: str) -> bool:
    return "-" in line and _RULE.fullmatch(line) is not None


def _cells(line: str) -> Row:
    inner = line.strip().removeprefix("|")
    if inner.endswith("|") and not inner.endswith("\\|"):
        inner = inner[:-1]
    return tuple(each.strip().replace("\\|", "|") for each in _CELL_END.split(inner))


def _align(rule: str) -> str:
    if rule.endswith(":"):
        return "center" if rule.startswith(":") else "right"
    return "left"


def _bare(cell: str) -> str:
    """A table's cell knows no Markdown: its marks are taken off."""
    return _MARKS.sub(r"\2", cell)
