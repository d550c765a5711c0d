"""Commands about the Slack app."""

from __future__ import annotations

from typing import Annotated

import typer

from bot.cli_frame import stop

slack_app = typer.Typer(help="The Slack app: its manifest.", no_args_is_help=True)


@slack_app.callback()
def _slack() -> None:
    """The Slack app: its manifest."""


@slack_app.command()
def manifest(
    http: Annotated[
        str, typer.Option("--http", metavar="URL", help="For HTTP in place of Socket Mode.")
    ] = "",
    agent: Annotated[bool, typer.Option("--agent", help="Declare the app as an agent.")] = False,
    installable: Annotated[
        bool, typer.Option("--installable", help="For several workspaces; goes with --http.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of YAML.")] = False,
) -> None:
    """Print the app's manifest, for "Create an app" → "From a manifest"."""
    import json

    from adapters.chat.slack_manifest import as_yaml
    from adapters.chat.slack_manifest import manifest as made

    if http and not http.startswith("https://"):
        stop("--http takes the public address of the bot, with https://", code=2)
    if installable and not http:
        stop("--installable goes with --http: Slack sends people back to that address", code=2)
    found = made(url=http, agent=agent, installable=installable)
    typer.echo(json.dumps(found, indent=2) if as_json else as_yaml(found), nl=as_json)
