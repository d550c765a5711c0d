"""The command line. Everything heavy is imported by the command that needs it.

Exit codes: 0 done, 1 failed with one reason on stderr, 2 wrong usage or settings.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from bot import __version__
from bot.roles import ProcessRole, RoleRefused, check_role

if TYPE_CHECKING:
    from bot.settings import Settings

app = typer.Typer(
    name="firstline",
    help="The self-hosted Slack and Discord assistant that makes small open models dependable.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The models: what is here, what answers, and fetching them.")
app.add_typer(models_app, name="models")

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
RoleOption = Annotated[
    ProcessRole,
    typer.Option("--role", help="Take messages in, answer them, or both (docs/scaling.md)."),
]
PortOption = Annotated[
    int | None, typer.Option("--port", help="In place of web.port; 0 takes any free one.")
]


def main() -> None:
    """The entry point: one reason on stderr, never a traceback, for what was foreseen."""
    app()


@app.command()
def run(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    allow_volatile: VolatileOption = False,
    role: RoleOption = "all",
    port: PortOption = None,
) -> None:
    """Run the bot on every configured platform, and here when none is configured."""
    settings = _settings(
        config, data_dir=data_dir, allow_volatile=allow_volatile, **{"web.port": port}
    )
    _check_role(settings, role)
    alone = not (settings.slack.enabled or settings.discord.enabled)
    interactive = alone and role == "all" and sys.stdin.isatty()
    _start_logs(settings, quiet="warning" if interactive else None)

    def start() -> Coroutine[Any, Any, int]:
        from bot.wiring import run_bot

        return run_bot(settings, interactive=interactive, role=role)

    _finish(start)


@app.command()
def chat(
    once: Annotated[str | None, typer.Option("--once", help="Ask this and leave.")] = None,
    image: Annotated[
        Path | None, typer.Option("--image", help="A picture that goes with --once.")
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    allow_volatile: VolatileOption = False,
) -> None:
    """Talk to the assistant in this terminal."""
    if image is not None and once is None:
        _stop("--image goes with --once; in a chat type /attach FILE", code=2)
    if image is not None and not image.is_file():
        _stop(f"no file at {str(image)!r}", code=2)
    settings = _settings(config, data_dir=data_dir, allow_volatile=allow_volatile)
    # One question's failure is told once, by the command itself.
    _start_logs(settings, quiet="error" if once is not None else "warning")

    def start() -> Coroutine[Any, Any, int]:
        from bot.wiring import chat as start_chat

        return start_chat(settings, once=once, image=image)

    _finish(start)


@app.command("check-config")
def check_config(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Print what would run, who may talk to it where, and which model serves each role."""
    from bot.check_config import print_config

    settings = _settings(config, data_dir=data_dir)
    if not print_config(settings, config=config):
        raise typer.Exit(1)


@app.command()
def doctor(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Check every part for real, and print the one fix for each fault."""
    settings = _settings(config, data_dir=data_dir)
    _start_logs(settings, quiet="warning")

    def start() -> Coroutine[Any, Any, int]:
        from bot.doctor import examine

        return examine(settings, config=config)

    _finish(start)


@app.command()
def audit(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    allow_volatile: VolatileOption = False,
) -> None:
    """Read the whole store and name every broken rule; exit 1 if there is one."""
    settings = _settings(config, data_dir=data_dir, allow_volatile=allow_volatile)
    _start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.audit import audit_store

        return audit_store(settings, as_json=as_json)

    _finish(start)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"firstline {__version__}")


@models_app.callback(invoke_without_command=True)
def models(
    context: typer.Context, config: ConfigOption = None, data_dir: DataDirOption = None
) -> None:
    """List the models; the other commands test and fetch them."""
    if context.invoked_subcommand is None:
        models_list(config=config, data_dir=data_dir)


@models_app.command("list")
def models_list(
    name: Annotated[str | None, typer.Argument(help="All there is about this model.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every model on every backend.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Show what is installed, what answers, and which role it serves."""
    settings = _settings(config, data_dir=data_dir)
    _start_logs(settings, quiet="warning")

    def start() -> Coroutine[Any, Any, int]:
        from bot.models_list import list_models

        return list_models(settings, name=name, everything=everything, as_json=as_json)

    _finish(start)


@models_app.command("test")
def models_test(
    route: Annotated[str, typer.Argument(help="A route of the settings, or one found here.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Load a route and check on it what every backend must keep."""
    settings = _settings(config, data_dir=data_dir)
    _start_logs(settings, quiet="warning")

    def start() -> Coroutine[Any, Any, int]:
        from bot.models_test import run_models_test

        return run_models_test(route, settings)

    _finish(start)


@models_app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A name such as phi-3.5-mini, or ollama:phi3.5.")],
    backend: Annotated[
        str | None, typer.Option("--backend", help="The engine to fetch it for.")
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Fetch a model's weights; a pull that was cut off goes on where it stopped."""
    settings = _settings(config, data_dir=data_dir)
    _start_logs(settings, quiet="warning")

    def start() -> Coroutine[Any, Any, int]:
        from bot.pulling import pull_for

        return pull_for(settings, name, backend=backend)

    _finish(start)


def _settings(
    config: Path | None,
    *,
    data_dir: Path | None = None,
    allow_volatile: bool = False,
    **more: object,
) -> Settings:
    """`more` are dotted names of single settings; None leaves one as it is."""
    from bot.settings import SettingsError, load_settings

    overrides = {name: value for name, value in more.items() if value is not None}
    if data_dir is not None:
        overrides["data_dir"] = data_dir
    if allow_volatile:
        overrides["redis.allow_volatile"] = True
    try:
        return load_settings(config, overrides=overrides)
    except SettingsError as error:
        _stop(str(error), code=2)


def _check_role(settings: Settings, role: ProcessRole) -> None:
    try:
        check_role(settings, role)
    except RoleRefused as error:
        _stop(str(error), code=2)


def _start_logs(settings: Settings, *, quiet: Literal["warning", "error"] | None = None) -> None:
    """`quiet` is for commands that talk to a person: they show no less than that."""
    from bot.logs import configure_logs

    level = quiet if quiet and settings.log_level == "info" else settings.log_level
    configure_logs(level=level, form=settings.log_format, secrets=settings.secrets())


def _finish(start: Callable[[], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run a command to its exit code; a foreseen failure is one line on stderr."""
    try:
        code = asyncio.run(start())
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        reason = _foreseen(error)
        if reason is None:
            raise
        _stop(reason, code=1)
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


def _stop(reason: str, *, code: int) -> NoReturn:
    typer.echo(f"firstline: {' '.join(reason.split())}", err=True)
    raise typer.Exit(code)
