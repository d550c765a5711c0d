"""One server's session: opened, kept and left by one task, and opened anew when it ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TextIO

import structlog

from adapters.mcp.pins import Offered, Server
from tools.contract import ToolError

log = structlog.get_logger(__name__)

OPEN_S = 5.0  # a bot starts without a server that takes longer
CALL_S = 30.0
_AGAIN_S, _LONGEST_S = 1.0, 60.0
_MOST_TOOLS = 200


class Connection:
    """`offered` and `version` are as the server told them last."""

    def __init__(
        self, server: Server, *, call_s: float = CALL_S, again_s: float = _AGAIN_S
    ) -> None:
        self.server, self.version = server, ""
        self.offered: dict[str, Offered] = {}
        self._call_s, self._again_s = call_s, again_s
        self._session: Any = None
        self._listed = asyncio.Event()
        self._changed = asyncio.Event()
        self._broken = asyncio.Event()

    async def listed(self, within_s: float = OPEN_S) -> bool:
        """Whether the server told its tools in this time."""
        try:
            async with asyncio.timeout(within_s):
                await self._listed.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Until cancelled."""
        wait_s = self._again_s
        while True:
            try:
                await self._live()
                wait_s = self._again_s
            except Exception as error:  # noqa: BLE001 (a lane of its own; the SDK raises many)
                log.warning("mcp.away", server=self.server.name, error=_root(error))
            finally:
                self._session = None
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_S)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """The text of the tool's result; raises `ToolError`."""
        session = self._session
        if session is None:
            raise ToolError(f"the server {self.server.name!r} is away; try again in a minute")
        given = {key: value for key, value in arguments.items() if value is not None}
        try:
            async with asyncio.timeout(self._call_s):
                result = await session.call_tool(name, given)
        except TimeoutError:
            raise ToolError(f"no answer in {self._call_s:g} s") from None
        except Exception as error:
            self._broken.set()
            raise ToolError(f"the server {self.server.name!r} failed") from error
        text = _text_of(result)
        if getattr(result, "is_error", False):
            raise ToolError(text[:300] or "the tool failed")
        return text

    async def _live(self) -> None:
        """One session, until it breaks."""
        from mcp import ClientSession

        self._broken.clear()
        async with _streams(self.server) as (reading, writing):

            async def told(message: object) -> None:
                if "ToolListChanged" in type(getattr(message, "root", message)).__name__:
                    self._changed.set()
                elif isinstance(message, Exception):
                    self._broken.set()

            async with ClientSession(reading, writing, message_handler=told) as session:
                async with asyncio.timeout(self._call_s):
                    await session.initialize()
                    await self._list(session)
                self._session = session
                log.info("mcp.connected", server=self.server.name, tools=len(self.offered))
                await self._watch(session)

    async def _watch(self, session: Any) -> None:
        """Look again when the server says that its tools changed, and whether it is still there."""
        while not self._broken.is_set():
            self._changed.clear()
            try:
                async with asyncio.timeout(self._again_s * 10):
                    await _first(self._changed, self._broken)
                    if self._changed.is_set():
                        await self._list(session)
            except TimeoutError:
                async with asyncio.timeout(self._call_s):
                    await session.send_ping()

    async def _list(self, session: Any) -> None:
        found: dict[str, Offered] = {}
        told = await session.list_tools()
        for each in told.tools[:_MOST_TOOLS]:
            found[each.name] = Offered(each.name, each.description or "", each.input_schema)
        info = session.server_info
        self.version, self.offered = (info.version if info else "") or "", found
        self._listed.set()


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(each.wait()) for each in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


@asynccontextmanager
async def _streams(server: Server) -> AsyncIterator[tuple[Any, Any]]:
    """The transport of a server; what it writes to stderr is nobody's."""
    if server.command:
        from mcp import StdioServerParameters
        from mcp.client.stdio import stdio_client

        program, *arguments = server.command
        given = StdioServerParameters(command=program, args=arguments, env=dict(server.env))
        with _nowhere() as nowhere:
            async with stdio_client(given, errlog=nowhere) as (reading, writing):
                yield reading, writing
        return
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    timeout = httpx2.Timeout(CALL_S, read=CALL_S * 10)
    async with (
        httpx2.AsyncClient(headers=dict(server.headers), timeout=timeout) as client,
        streamable_http_client(server.url, http_client=client) as (reading, writing, *_),
    ):
        yield reading, writing


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _text_of(result: Any) -> str:
    """Texts as they are; anything else is named only."""
    parts = []
    for part in result.content:
        kind = getattr(part, "type", "")
        parts.append(part.text if kind == "text" else f"[{kind}, not shown]")
    return "\n".join(parts)


def _root(error: BaseException) -> str:
    """The name of what went wrong, out of the groups that the SDK wraps it in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__
