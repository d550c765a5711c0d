"""The command line. Everything heavy is imported by the command that needs it.

Exit codes: 0 done, 1 failed with one reason on stderr, 2 wrong usage or settings.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot import __version__
from bot.cli_feedback import feedback_app
from bot.cli_frame import (
    ConfigOption,
    DataDirOption,
    VolatileOption,
    finish,
    overrides_of,
    settings_of,
    start_logs,
    stop,
)
from bot.cli_knowledge import evaluate, knowledge_app
from bot.cli_mcp import mcp_app
from bot.cli_memory import memory_app
from bot.cli_models import models_app
from bot.cli_report import report
from bot.cli_slack import slack_app
from bot.cli_store import audit_app, dead_app
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
app.add_typer(models_app, name="models")
app.add_typer(dead_app, name="dead")
app.add_typer(slack_app, name="slack")
app.add_typer(memory_app, name="memory")
app.add_typer(feedback_app, name="feedback")
app.add_typer(mcp_app, name="mcp")
app.add_typer(audit_app, name="audit")
app.add_typer(knowledge_app, name="knowledge")
app.command("eval")(evaluate)
app.command("report")(report)

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
    chosen: dict[str, Any] = {"data_dir": data_dir, "allow_volatile": allow_volatile}
    chosen["web.port"] = port
    settings = settings_of(config, **chosen)
    check_role_or_stop(settings, role)
    alone = not settings.has_platform
    interactive = alone and role == "all" and sys.stdin.isatty()
    start_logs(settings, quiet="warning" if interactive else None)

    def start() -> Coroutine[Any, Any, int]:
        from bot.access import Source
        from bot.settings import load_settings, settings_files
        from bot.wiring import run_bot

        files = [file for file in settings_files(config) if file is not None]
        source = Source(files, partial(load_settings, config, overrides=overrides_of(**chosen)))
        return run_bot(settings, interactive=interactive, role=role, source=source)

    finish(start)


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
        stop("--image goes with --once; in a chat type /attach FILE", code=2)
    if image is not None and not image.is_file():
        stop(f"no file at {str(image)!r}", code=2)
    settings = settings_of(config, data_dir=data_dir, allow_volatile=allow_volatile)
    # One question's failure is told once, by the command itself.
    start_logs(settings, quiet="error" if once is not None else "warning")

    def start() -> Coroutine[Any, Any, int]:
        from bot.wiring import chat as start_chat

        return start_chat(settings, once=once, image=image)

    finish(start)


@app.command("check-config")
def check_config(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Print what would run, who may talk to it where, and which model serves each role."""
    from bot.check_config import print_config

    settings = settings_of(config, data_dir=data_dir)
    if not print_config(settings, config=config):
        raise typer.Exit(1)


@app.command()
def doctor(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Check every part for real, and print the one fix for each fault."""
    settings = settings_of(config, data_dir=data_dir)
    start_logs(settings, quiet="warning")

    def start() -> Coroutine[Any, Any, int]:
        from bot.doctor import examine

        return examine(settings, config=config)

    finish(start)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"firstline {__version__}")


def check_role_or_stop(settings: Settings, role: ProcessRole) -> None:
    try:
        check_role(settings, role)
    except RoleRefused as error:
        stop(str(error), code=2)
