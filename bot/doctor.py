"""`firstline doctor`: every part tried for real, and the one fix for each fault."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from adapters.chat.types import AdapterError
from adapters.decoding.diagnose import diagnose as diagnose_sandbox
from adapters.stores.errors import StoreError
from agents.errors import AgentError
from agents.ports import ModelRequest, PromptMessage, Role, complete
from agents.routing import Route
from bot import mattermost
from bot.settings import Settings, secret_file_warnings

_PLATFORM_TIMEOUT_S = 30.0
_MODEL_TIMEOUT_S = 120.0  # weights of some gigabytes take their time to load
_ROLES: tuple[Role, ...] = ("planner", "vision", "small", "embed")


class Finding(NamedTuple):
    """One check; `fix` is the one thing to do when it failed, else what was found."""

    check: str
    ok: bool
    fix: str


async def examine(
    settings: Settings, *, config: Path | None = None, console: Console | None = None
) -> int:
    """Print a line for each check as it ends; 1 if any failed."""
    console = console or Console(soft_wrap=True)
    failed = 0
    async for finding in _findings(settings, config):
        failed += not finding.ok
        console.print(_line(finding), soft_wrap=True)
    console.print("All is well." if not failed else f"{failed} to mend.")
    return 1 if failed else 0


def _line(finding: Finding) -> Text:
    mark = Text("ok    ", style="green") if finding.ok else Text("FAULT ", style="bold red")
    return mark.append(f"{finding.check}: {finding.fix}", style="default")


async def _findings(settings: Settings, config: Path | None) -> AsyncIterator[Finding]:
    yield _files(config)
    yield await _redis(settings)
    yield Finding("sandbox", *await diagnose_sandbox())
    for finding in [*await _slack(settings), *await _discord(settings)]:
        yield finding
    yield Finding(*await mattermost.diagnose(settings.mattermost))
    async for finding in _models(settings):
        yield finding
    yield _port(settings)


def _files(config: Path | None) -> Finding:
    warnings = secret_file_warnings(config)
    return Finding("settings", not warnings, "; ".join(warnings) or "valid")


async def _redis(settings: Settings) -> Finding:
    from bot.stores import open_stores

    try:
        async with open_stores(settings) as stores:
            info = await stores.redis.info()
    except StoreError as error:
        return Finding("redis", False, str(error))
    policy = info.get("maxmemory_policy", "noeviction")
    log = "on" if info.get("aof_enabled") else "off"
    shown = f"{settings.redis.where}, version {info['redis_version']}, {policy}, append-only {log}"
    return Finding("redis", True, shown)


async def _slack(settings: Settings) -> list[Finding]:
    slack = settings.slack
    if not slack.enabled:
        return [Finding("slack", True, "off (no tokens set)")]
    from adapters.chat.slack import diagnose

    bot, app = slack.bot_token, slack.app_token
    try:
        async with asyncio.timeout(_PLATFORM_TIMEOUT_S):
            found = await diagnose(
                bot_token=bot.get_secret_value() if bot else "",
                app_token=app.get_secret_value() if app else "",
                api_url=slack.api_url,
            )
    except (AdapterError, OSError, TimeoutError) as error:
        return [_unreachable("slack", error)]
    return [*_from_platform(found), *_slack_http(settings)]


def _slack_http(settings: Settings) -> list[Finding]:
    """What HTTP and installations need beside the tokens."""
    slack, found = settings.slack, list[Finding]()
    if slack.over_http:
        found.append(_free("slack port", slack.http_host, slack.http_port, "slack.http_port"))
    if slack.client_id and not settings.memory.is_encrypted:
        fix = "tokens are kept encrypted only: set memory.key_file (openssl rand -hex 32)"
        found.append(Finding("slack installations", False, fix))
    if slack.client_id and slack.public_url and not slack.public_url.startswith("https:"):
        fix = "must begin with https://, or Slack sends nothing and nobody back"
        found.append(Finding("slack.public_url", False, fix))
    return found


async def _discord(settings: Settings) -> list[Finding]:
    discord = settings.discord
    if discord.token is None:
        return [Finding("discord", True, "off (no token set)")]
    from adapters.chat.discord import diagnose

    try:
        async with asyncio.timeout(_PLATFORM_TIMEOUT_S):
            found = await diagnose(token=discord.token.get_secret_value(), api_url=discord.api_url)
    except (AdapterError, OSError, TimeoutError) as error:
        return [_unreachable("discord", error)]
    return _from_platform(found)


def _from_platform(found: Sequence[tuple[str, bool, str]]) -> list[Finding]:
    return [Finding(check, ok, "fine" if ok else fix) for check, ok, fix in found]


def _unreachable(platform: str, error: Exception) -> Finding:
    reason = str(error) if isinstance(error, AdapterError) else type(error).__name__
    return Finding(
        platform, False, f"no answer ({reason}): check {platform}.api_url and the network"
    )


async def _models(settings: Settings) -> AsyncIterator[Finding]:
    """Load every route of every role; the chains are those that `run` would use."""
    from bot.routes import build_chains

    chains = await build_chains(settings)
    for role in _ROLES:
        if role in ("planner", "vision") and not chains[role]:
            yield Finding(f"role {role}", False, f"name a route in roles.{role}")
    for route in {route.name: route for chain in chains.values() for route in chain}.values():
        check = f"model route {route.name}"
        try:
            async with asyncio.timeout(_MODEL_TIMEOUT_S):
                tokens = await _try_route(route)
        except (AgentError, OSError, TimeoutError, ImportError) as error:
            yield Finding(check, False, str(error) or type(error).__name__)
        else:
            yield Finding(check, True, f"answers; context of {tokens:,} tokens")


async def _try_route(route: Route) -> int:
    """Load the route, ask it for one token, and tell its context size."""
    backend = await route.load()
    try:
        if route.backend in (
            "openai_api",
            "ollama",
            "llama_server",
            "openvino",
            "embedded",
            "langchain",
        ):
            await complete(backend, ModelRequest((PromptMessage("user", "Say ok."),), max_tokens=1))
        return backend.capabilities.context_tokens
    finally:
        await backend.aclose()


def _port(settings: Settings) -> Finding:
    return _free("port", settings.web.host, settings.web.port, "web.port")


def _free(check: str, host: str, port: int, setting: str) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError:
        fix = f"port {port} on {host} is in use: stop what uses it, or set {setting} to another"
        return Finding(check, False, fix)
    return Finding(check, True, f"{host}:{port} is free")
