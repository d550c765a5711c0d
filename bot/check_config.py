"""`firstline check-config`: what would run, who may talk to it where, and on which models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agents.errors import RouteRetired
from bot.knowledge import knowledge_file
from bot.known_models import check_served
from bot.settings import EVERYONE, Settings, secret_file_warnings, settings_files, shown_url
from bot.tables import report_console, report_table
from bot.tool_sections import GrantSection
from bot.tool_wiring import toolbox_of
from tools.contract import Effect
from tools.decorator import PEOPLE, PLACES

_PRESS = {
    "read": "never",
    "write": "once others' words were read",
    "egress": "once others' words were read",
    "destructive": "always",
}


def print_config(
    settings: Settings, *, config: Path | None = None, console: Console | None = None
) -> bool:
    """Print the report; False for a fault that would show later. Secrets never appear in it."""
    console = console or report_console()
    for table in (
        _what_runs(settings, config),
        _who_may_talk(settings),
        _who_may_do_what(settings),
        _roles(settings),
        _routes(settings),
    ):
        console.print(table)
    for warning in (*_open_doors(settings), *secret_file_warnings(config)):
        console.print(Text(f"WARNING: {warning}", style="bold red"), soft_wrap=True)
    faults = [*_closed_services(settings), *_unknown_tools(settings)]
    for each in faults:
        console.print(Text(f"FAULT: {each}", style="bold red"), soft_wrap=True)
    return not faults


def _unknown_tools(settings: Settings) -> list[str]:
    known = {tool.name for tool in toolbox_of(settings, with_knowledge=True).tools} | set(
        _approved(settings)
    )
    return [
        f"tools.grants.{name}: there is no tool of that name"
        for name in settings.tools.grants
        if name not in known
    ]


def _closed_services(settings: Settings) -> list[str]:
    """Routes to a service that no longer exists, each with the date and what to use instead."""
    faults = []
    for name, route in sorted(settings.routes.items()):
        try:
            check_served(name, route)
        except RouteRetired as error:
            faults.append(f"models.routes.{name}: {error.detail}")
    return faults


def _row(table: Table, *cells: str) -> None:
    # As Text: a name in brackets is a name, not a style.
    table.add_row(*(Text(cell) for cell in cells))


def _what_runs(settings: Settings, config: Path | None) -> Table:
    table = report_table("What would run", "part", "setting")
    files = [str(file) for file in settings_files(config) if file is not None]
    _row(table, "settings", ", ".join([*files, "environment"]))
    _row(table, "data", str(settings.data_dir.absolute()))
    _row(table, "Redis", _redis(settings))
    _row(table, "memory", _memory(settings))
    _row(table, "doorbell", settings.doorbell.where)
    _row(table, "Slack", shown_url(settings.slack.api_url) if settings.slack.enabled else "off")
    discord = settings.discord
    _row(table, "Discord", shown_url(discord.api_url) if discord.enabled else "off")
    mattermost = settings.mattermost
    _row(table, "Mattermost", shown_url(mattermost.url or "") if mattermost.enabled else "off")
    _row(table, "page", _address(settings) if settings.web.enabled else "off")
    _row(table, "health", f"{_address(settings)}healthz, readyz, metrics")
    _row(table, "own tools", str(settings.tools.file or "none"))
    _row(table, "tools off", ", ".join(settings.tools.disabled) or "none")
    return table


def _memory(settings: Settings) -> str:
    how = "encrypted" if settings.memory.is_encrypted else "not encrypted"
    return f"kept {settings.memory.retention_days} days after the last answer, {how} in Redis"


def _redis(settings: Settings) -> str:
    where = settings.redis.where
    if settings.redis.url is None:
        where = f"embedded, in {settings.data_dir.absolute() / 'redis'}"
    return f"{where} (may lose work: allow_volatile)" if settings.redis.allow_volatile else where


def _address(settings: Settings) -> str:
    host = f"[{settings.web.host}]" if ":" in settings.web.host else settings.web.host
    port = settings.web.port or "a free port"
    return f"http://{host}:{port}/"


def _who_may_talk(settings: Settings) -> Table:
    table = report_table("Who may talk to it, and where", "platform", "field", "allowed")
    _row(table, "terminal, page", "people at this machine", "the operator")
    if settings.slack.enabled:
        allow = settings.slack.allow
        _row(table, "Slack", "workspaces", _allowed(allow.workspaces))
        _row(table, "Slack", "channels", _allowed(allow.channels))
        _row(table, "Slack", "users", _allowed(allow.users))
        _row(table, "Slack", "guests", "yes" if allow.guests else "no")
        _row(table, "Slack", "people of other companies", "yes" if allow.external else "no")
    if settings.discord.enabled:
        here = settings.discord.allow
        _row(table, "Discord", "guilds", _allowed(here.guilds))
        _row(table, "Discord", "channels", _allowed(here.channels))
        _row(table, "Discord", "users (alone decide on DMs)", _allowed(here.users))
    if settings.mattermost.enabled:
        for field, ids in settings.mattermost.allow.model_dump().items():
            shown = _allowed(ids) if isinstance(ids, tuple) else "yes" if ids else "no"
            _row(table, "Mattermost", field, shown)
    return table


def _who_may_do_what(settings: Settings) -> Table:
    """Every tool under the rules; those of `tools.file` are loaded for it, and of MCP servers
    those that were approved."""
    table = report_table(
        "Who may do what, where", "tool", "effect", "people", "places", "granted to", "press"
    )
    for tool in toolbox_of(settings, with_knowledge=knowledge_file(settings).exists()).tools:
        grant = settings.tools.grants.get(tool.name)
        people, places = ", ".join(sorted(tool.principals)), ", ".join(sorted(tool.places))
        _row(table, tool.name, tool.effect, people, places, _granted(grant), _PRESS[tool.effect])
    for name, effect in _approved(settings).items():
        grant = settings.tools.grants.get(name)
        people, places = ", ".join(sorted(PEOPLE)), ", ".join(sorted(PLACES))
        _row(table, name, effect, people, places, _granted(grant), _PRESS[effect])
    return table


def _approved(settings: Settings) -> dict[str, Effect]:
    return {
        f"{server}__{tool}": pin.effect
        for server, section in settings.tools.mcp.items()
        for tool, pin in section.tools.items()
    }


def _granted(grant: GrantSection | None) -> str:
    if grant is None:
        return "all of them"
    lists = (("users", grant.users), ("channels", grant.channels), ("approvers", grant.approvers))
    told = [f"{name}: {_allowed(ids)}" for name, ids in lists if ids is not None]
    return "; ".join(told) or "all of them"


def _allowed(ids: Sequence[str]) -> str:
    if EVERYONE in ids:
        return "EVERYONE (*)"
    return ", ".join(ids) or "nobody"


def _open_doors(settings: Settings) -> list[str]:
    doors = []
    if settings.slack.enabled:
        doors += _open_in("slack", settings.slack.allow.model_dump())
    if settings.discord.enabled:
        doors += _open_in("discord", settings.discord.allow.model_dump())
    if settings.mattermost.enabled:
        doors += _open_in("mattermost", settings.mattermost.allow.model_dump())
    return doors


def _open_in(platform: str, allow: dict[str, object]) -> list[str]:
    return [
        f'{platform}.allow.{field} is "*": every one of them may talk to the bot'
        for field, ids in allow.items()
        if isinstance(ids, tuple) and EVERYONE in ids
    ]


def _roles(settings: Settings) -> Table:
    table = report_table("Which model serves each role", "role", "routes, in order", "chosen by")
    for role, names in settings.roles:
        chosen = "settings" if role in settings.roles.model_fields_set else "default"
        if chosen == "default" and role in ("planner", "vision"):
            chosen = "default; a pulled Phi or a local Ollama's comes first"
        _row(table, role, " → ".join(names) or "none", chosen if names else "-")
    return table


def _routes(settings: Settings) -> Table:
    table = report_table("Routes", "route", "backend", "model", "placement", "where", "context")
    for name, route in sorted(settings.routes.items()):
        where = shown_url(route.base_url) if route.base_url else str(route.path or "-")
        context = f"{route.context_tokens:,}" if route.context_tokens else "the model's own"
        _row(table, name, route.backend, route.model or "-", route.placement, where, context)
    return table
