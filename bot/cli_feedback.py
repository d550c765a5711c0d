"""Commands about what people said of the bot's answers."""

from __future__ import annotations

from collections.abc import Coroutine
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

feedback_app = typer.Typer(help="What people said of the bot's answers.", no_args_is_help=True)


@feedback_app.callback()
def feedback() -> None:
    """What people said of the bot's answers."""


@feedback_app.command("list")
def list_them(
    tenant: Annotated[
        str, typer.Option("--tenant", help="Such as slack:T0123ABCD or discord:1234.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    allow_volatile: VolatileOption = False,
) -> None:
    """Show the ratings and texts of one workspace or guild, oldest first."""
    if ":" not in tenant:
        stop(f"{tenant!r} is no tenant; it is platform:id, such as slack:T0123ABCD", code=2)
    settings = settings_of(config, data_dir=data_dir, allow_volatile=allow_volatile)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.ratings import list_feedback

        return list_feedback(settings, tenant, as_json=as_json)

    finish(start)
