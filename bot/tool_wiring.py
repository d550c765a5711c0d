"""Which tools the bot has: built in, named by the settings, and the operator's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import structlog

from adapters.mcp.pins import Pin, Server
from adapters.models.openai_wire import estimate_tokens
from agents.prompts.planner import prompt_head
from bot.settings import Settings
from bot.tool_sections import McpSection, SearchSection, TicketsSection, ToolsSection
from tools.contract import Tool, ToolError
from tools.toolbox import Toolbox, ToolboxError, built_in_tools, load_tools, optional_tools

if TYPE_CHECKING:
    from adapters.web.search import SearchProvider

log = structlog.get_logger(__name__)

_LARGE_PROMPT_TOKENS = 2000  # by an estimate that is up to 60 % too high


def toolbox_of(
    settings: Settings, more: Iterable[Tool] = (), *, with_knowledge: bool = False
) -> Toolbox:
    """The built-in tools, those the settings name, the operator's own, and `more`, less those
    switched off."""
    chosen = [*settings.tools.enabled, *(["hand_over"] if settings.hand_over.channels else [])]
    chosen += ["search_knowledge"] if with_knowledge else []
    named = (
        *optional_tools(chosen),
        *_web_tools(settings.tools),
        *_tickets(settings.tools.tickets),
    )
    tools = [*built_in_tools(), *named, *more]
    if settings.tools.file is not None:
        tools += load_tools(settings.tools.file)
    return Toolbox(tool for tool in tools if tool.name not in settings.tools.disabled)


def _web_tools(tools: ToolsSection) -> Iterator[Tool]:
    """Imported here: who opens no web page needs none of it."""
    if not tools.web.hosts and tools.search.provider is None:
        return
    from adapters.web.client import SafeClient
    from adapters.web.tools import web_page_tool, web_search_tool

    if tools.web.hosts:
        yield web_page_tool(SafeClient(tools.web.hosts))
    if (provider := _provider(tools.search)) is not None:
        yield web_search_tool(provider)


def _tickets(tickets: TicketsSection) -> Iterator[Tool]:
    if tickets.url is None:
        return
    from adapters.web.tickets import Webhook, ticket_tool

    key = tickets.key.get_secret_value() if tickets.key else None
    yield ticket_tool(Webhook(tickets.url, key))


@asynccontextmanager
async def mcp_tools(settings: Settings) -> AsyncIterator[tuple[Tool, ...]]:
    """The approved tools of the MCP servers that are there; raises `ToolboxError`."""
    if not settings.tools.mcp:
        yield ()
        return
    open_servers = _mcp().open_servers
    servers = [server_of(name, each) for name, each in settings.tools.mcp.items()]
    async with open_servers(servers) as tools:
        yield tools


def server_of(name: str, section: McpSection) -> Server:
    key = section.key.get_secret_value() if section.key else ""
    return Server(
        name,
        section.version,
        command=section.command,
        env={name: value.get_secret_value() for name, value in section.env.items()},
        url=section.url or "",
        headers={"Authorization": f"Bearer {key}"} if key else {},
        pins={
            tool: Pin(pin.hash, pin.effect, pin.idempotency) for tool, pin in section.tools.items()
        },
    )


async def pin_block(settings: Settings, name: str) -> str:
    """What approves a server as it is now; raises `ToolboxError`."""
    if (section := settings.tools.mcp.get(name)) is None:
        known = ", ".join(sorted(settings.tools.mcp)) or "none"
        raise ToolboxError(f"tools.mcp: there is no server {name!r}; there are: {known}")
    try:
        return str(await _mcp().pin_block(server_of(name, section)))
    except ToolError as error:
        raise ToolboxError(f"tools.mcp.{name}: {error}") from None


def _mcp() -> Any:
    if find_spec("mcp") is None:
        raise ToolboxError("tools.mcp needs the extra: pip install 'firstline[mcp]'")
    from adapters.mcp import tools

    return tools


def _provider(search: SearchSection) -> SearchProvider | None:
    from adapters.web.client import TrustedClient
    from adapters.web.search import Brave, SearxNG

    if search.provider == "searxng" and search.url is not None:
        return SearxNG(TrustedClient(), search.url)
    if search.provider == "brave" and search.key is not None:
        return Brave(TrustedClient(), search.key.get_secret_value())
    return None


def tell_prompt_size(toolbox: Toolbox, persona: str) -> None:
    """Log the size of what every prompt begins with, before any model is there to count it."""
    head = prompt_head(toolbox.tools, persona=persona)
    tokens = sum(estimate_tokens(message.text) for message in head)
    log.info("prompt.estimated", tools=len(toolbox.tools), tokens=tokens, upper_bound=True)
    if tokens > _LARGE_PROMPT_TOKENS:
        log.warning(
            "prompt.large",
            tokens=tokens,
            advice="a small model answers later and worse; switch tools off in [tools] disabled",
        )
