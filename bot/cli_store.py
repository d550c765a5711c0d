"""Commands about what lies in the store: the audit, and the dead letters."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from bot.settings import Settings

dead_app = typer.Typer(help="Turns that were given up: list, replay, drop.", no_args_is_help=True)
TurnArgument = Annotated[
    list[str] | None, typer.Argument(metavar="TURN", help="Ids of turns, as listed.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Every one that is listed.")]


audit_app = typer.Typer(
    help="Read the whole store and name every broken rule; or walk the audit log's chain.",
    invoke_without_command=True,
)


@audit_app.callback()
def audit(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    allow_volatile: VolatileOption = False,
) -> None:
    """Read the whole store and name every broken rule; exit 1 if there is one."""
    if context.invoked_subcommand is not None:
        return
    settings = settings_of(config, data_dir=data_dir, allow_volatile=allow_volatile)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.audit import audit_store

        return audit_store(settings, as_json=as_json)

    finish(start)


@audit_app.command("verify")
def verify_audit(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    expect: Annotated[
        list[str] | None,
        typer.Option("--expect", help="A head that you kept: TENANT=NUMBER:HASH."),
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    allow_volatile: VolatileOption = False,
) -> None:
    """Walk the audit log's chain; exit 1 if anything was altered, taken out or put in."""
    settings = settings_of(config, data_dir=data_dir, allow_volatile=allow_volatile)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.journal import verify_journal

        return verify_journal(settings, as_json=as_json, noted=tuple(expect or ()))

    try:
        finish(start)
    except ValueError as error:
        stop(str(error), code=2)


@dead_app.command("list")
def list_dead(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    allow_volatile: VolatileOption = False,
) -> None:
    """Show every dead letter: where, when, why, and how often it was tried."""
    settings = settings_of(config, data_dir=data_dir, allow_volatile=allow_volatile)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.dead import list_letters

        return list_letters(settings, as_json=as_json)

    finish(start)


@dead_app.command("replay")
def replay_dead(
    turns: TurnArgument = None,
    everything: AllOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    allow_volatile: VolatileOption = False,
) -> None:
    """Ask the same questions again, as new turns, where they were asked."""
    settings = settings_of(config, data_dir=data_dir, allow_volatile=allow_volatile)
    _settle(settings, turns or [], everything, replay=True)


@dead_app.command("drop")
def drop_dead(
    turns: TurnArgument = None,
    everything: AllOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    allow_volatile: VolatileOption = False,
) -> None:
    """Throw dead letters away."""
    settings = settings_of(config, data_dir=data_dir, allow_volatile=allow_volatile)
    _settle(settings, turns or [], everything, replay=False)


def _settle(settings: Settings, turns: list[str], everything: bool, *, replay: bool) -> None:
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.dead import settle_letters

        return settle_letters(settings, turns, everything=everything, replay=replay)

    finish(start)
