"""`firstline mcp`: look at the tools of a server, to approve them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from bot.cli_frame import ConfigOption, DataDirOption, finish, settings_of, start_logs

mcp_app = typer.Typer(help="MCP servers: approve their tools.", no_args_is_help=True)


@mcp_app.callback()
def servers() -> None:
    """Keeps `pin` a command of its own, though it is the only one."""


@mcp_app.command("pin")
def pin(
    name: Annotated[str, typer.Argument(help="A server of [tools.mcp].")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Print the settings that approve a server's tools as they are now."""
    settings = settings_of(config, data_dir=data_dir)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        return _print_block()

    async def _print_block() -> int:
        from bot.tool_wiring import pin_block

        typer.echo(await pin_block(settings, name))
        return 0

    finish(start)
