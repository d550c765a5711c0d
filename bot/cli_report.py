"""`firstline report`: the week's digest for who looks after the documents."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from bot.cli_frame import (
    ConfigOption,
    DataDirOption,
    VolatileOption,
    finish,
    settings_of,
    start_logs,
    stop,
)


def report(
    tenant: Annotated[
        str, typer.Option("--tenant", help="Such as slack:T0123ABCD or discord:1234.")
    ],
    days: Annotated[int, typer.Option("--days", min=1, max=365)] = 7,
    cases: Annotated[
        Path | None, typer.Option("--cases", help="Append the questions to a file for `eval`.")
    ] = None,
    drafts: Annotated[
        Path | None,
        typer.Option("--drafts", help="Write good answers as drafts of documents to this folder."),
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    allow_volatile: VolatileOption = False,
) -> None:
    """What was asked in vain, called bad and called good; for the team's channel or a mail."""
    if ":" not in tenant:
        stop(f"{tenant!r} is no tenant; it is platform:id, such as slack:T0123ABCD", code=2)
    settings = settings_of(config, data_dir=data_dir, allow_volatile=allow_volatile)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.report import print_report

        return print_report(settings, tenant, days=days, cases=cases, drafts=drafts, out=typer.echo)

    finish(start)
