"""What every command shares: its options, its settings, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from bot.settings import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="The settings file (else ./firstline.toml if there is one)."),
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the bot keeps its data.")
]
VolatileOption = Annotated[
    bool,
    typer.Option("--allow-volatile", help="Accept a Redis that may lose work; for trials."),
]


def settings_of(
    config: Path | None,
    *,
    data_dir: Path | None = None,
    allow_volatile: bool = False,
    **more: object,
) -> Settings:
    """`more` are dotted names of single settings; None leaves one as it is."""
    from bot.settings import SettingsError, load_settings

    chosen = overrides_of(data_dir=data_dir, allow_volatile=allow_volatile, **more)
    try:
        return load_settings(config, overrides=chosen)
    except SettingsError as error:
        stop(str(error), code=2)


def overrides_of(
    *, data_dir: Path | None = None, allow_volatile: bool = False, **more: object
) -> dict[str, object]:
    """What the command line says, as settings by dotted names."""
    overrides = {name: value for name, value in more.items() if value is not None}
    if data_dir is not None:
        overrides["data_dir"] = data_dir
    if allow_volatile:
        overrides["redis.allow_volatile"] = True
    return overrides


def start_logs(settings: Settings, *, quiet: Literal["warning", "error"] | None = None) -> None:
    """`quiet` is for commands that talk to a person: they show no less than that."""
    from bot.logs import configure_logs

    level = quiet if quiet and settings.log_level == "info" else settings.log_level
    configure_logs(level=level, form=settings.log_format, secrets=settings.secrets())


def finish(start: Callable[[], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run a command to its exit code; a foreseen failure is one line on stderr."""
    try:
        code = asyncio.run(start())
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        reason = _foreseen(error)
        if reason is None:
            raise
        stop(reason, code=1)
    raise typer.Exit(code)


def _foreseen(error: BaseException) -> str | None:
    """The reason an operator can act on, or None for what is a bug of ours."""
    from adapters.chat.types import AdapterError
    from adapters.stores.errors import StoreError
    from agents.errors import AgentError
    from tools.toolbox import ToolboxError

    if isinstance(error, BaseExceptionGroup):
        reasons = [_foreseen(each) for each in error.exceptions]
        known = [reason for reason in reasons if reason is not None]
        return "; ".join(dict.fromkeys(known)) if len(known) == len(reasons) else None
    ours = (AdapterError, StoreError, AgentError, ToolboxError, OSError)
    if isinstance(error, ours) or type(error).__module__.startswith(("bot.", "adapters.")):
        return str(error) or type(error).__name__
    return None


def stop(reason: str, *, code: int) -> NoReturn:
    typer.echo(f"firstline: {' '.join(reason.split())}", err=True)
    raise typer.Exit(code)
