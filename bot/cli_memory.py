"""Commands about what is remembered: the purge of a workspace or guild, and new keys for all."""

from __future__ import annotations

import sys
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

memory_app = typer.Typer(help="What is remembered of a workspace or guild.", no_args_is_help=True)


@memory_app.callback()
def memory() -> None:
    """What is remembered of a workspace or guild."""


@memory_app.command()
def purge(
    tenant: Annotated[
        str, typer.Argument(metavar="TENANT", help="Such as slack:T0123ABCD or discord:1234.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    allow_volatile: VolatileOption = False,
) -> None:
    """Delete everything of one workspace or guild, and prove by a count that nothing is left."""
    if ":" not in tenant:
        stop(f"{tenant!r} is no tenant; it is platform:id, such as slack:T0123ABCD", code=2)
    if not yes and not sys.stdin.isatty():
        stop("nobody is here to ask: repeat it with --yes", code=2)
    settings = settings_of(config, data_dir=data_dir, allow_volatile=allow_volatile)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.memory_purge import purge_tenant

        return purge_tenant(
            settings, tenant, confirmed=lambda ask: yes or typer.confirm(ask, default=False)
        )

    finish(start)


@memory_app.command("rotate-key")
def rotate_key(
    stopped: Annotated[
        bool, typer.Option("--stopped", help="No bot runs on this store: don't wait for any.")
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    allow_volatile: VolatileOption = False,
) -> None:
    """Seal every record with a new key and drop the old one; interrupted, run it again."""
    settings = settings_of(config, data_dir=data_dir, allow_volatile=allow_volatile)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.key_rotation import rotate_keys

        return rotate_keys(settings, is_stopped=stopped)

    finish(start)
