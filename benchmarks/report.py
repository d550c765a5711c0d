"""Tables, on the screen and in docs/benchmarks.md."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PARTS = {  # of the page, and their command
    "tables": "make bench",
    "store": "python -m benchmarks store",
    "chat": "python -m benchmarks chat",
    "engines": "make bench-engines",
    "quality": "python -m benchmarks.quality --write",
}


@dataclass
class Table:
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        self.rows.append(tuple(str(cell) for cell in cells))

    def markdown(self) -> str:
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        shown = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"**{self.title}**\n\n{shown}\n"


def write(tables: Sequence[Table], part: str = "tables") -> None:
    """Put the tables into the page, between the part's marks."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    machine = f"{cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    body = "\n".join(table.markdown() for table in tables)
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(begin)
    tail = rest.partition(end)[2]
    said = f"Measured {date} by `{PARTS[part]}` on {machine}, shared with other work; medians."
    PAGE.write_text(f"{head}{begin}\n{said}\n\n{body}{end}{tail}", encoding="utf-8")
