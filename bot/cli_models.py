"""`firstline models`: what is here, what answers, and fetching them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from bot.cli_frame import ConfigOption, DataDirOption, finish, settings_of, start_logs

models_app = typer.Typer(help="The models: what is here, what answers, and fetching them.")


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
    settings = settings_of(config, data_dir=data_dir)
    start_logs(settings, quiet="warning")

    def start() -> Coroutine[Any, Any, int]:
        from bot.models_list import list_models

        return list_models(settings, name=name, everything=everything, as_json=as_json)

    finish(start)


@models_app.command("test")
def models_test(
    route: Annotated[str, typer.Argument(help="A route of the settings, or one found here.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Load a route and check on it what every backend must keep."""
    settings = settings_of(config, data_dir=data_dir)
    start_logs(settings, quiet="warning")

    def start() -> Coroutine[Any, Any, int]:
        from bot.models_test import run_models_test

        return run_models_test(route, settings)

    finish(start)


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
    settings = settings_of(config, data_dir=data_dir)
    start_logs(settings, quiet="warning")

    def start() -> Coroutine[Any, Any, int]:
        from bot.pulling import pull_for

        return pull_for(settings, name, backend=backend)

    finish(start)
