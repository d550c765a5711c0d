"""Tables of the commands that report: readable in a terminal, whole in a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_PIPED_WIDTH = 140


def report_console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_PIPED_WIDTH)


def report_table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
