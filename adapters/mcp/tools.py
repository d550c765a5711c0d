"""The approved tools of MCP servers, as tools of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

from adapters.mcp.connection import CALL_S, OPEN_S, Connection
from adapters.mcp.pins import Offered, Pin, Server, block_of, fault_of
from tools.contract import Tool, ToolContext, ToolError
from tools.schema import SchemaError, compile_schema

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_servers(
    servers: Sequence[Server], *, open_s: float = OPEN_S, call_s: float = CALL_S
) -> AsyncIterator[tuple[Tool, ...]]:
    """The tools of every server that is there within `open_s`, as long as it is open.

    A server that is away is tried again; its tools are offered after the next start.
    """
    connections = [Connection(server, call_s=call_s) for server in servers]
    running = [
        asyncio.create_task(each.run(), name=f"mcp.{each.server.name}") for each in connections
    ]
    try:
        await asyncio.gather(*(each.listed(open_s) for each in connections))
        yield tuple(tool for each in connections for tool in _approved(each))
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def pin_block(server: Server, *, open_s: float = 2 * OPEN_S) -> str:
    """The settings that approve the server as it is now; raises `ToolError` when it is away."""
    connection = Connection(server)
    running = asyncio.create_task(connection.run(), name=f"mcp.{server.name}")
    try:
        if not await connection.listed(open_s):
            raise ToolError(f"the server {server.name!r} told no tools within {open_s:g} s")
        offered = tuple(connection.offered[name] for name in sorted(connection.offered))
        return block_of(server.name, connection.version, offered)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _approved(connection: Connection) -> list[Tool]:
    found = []
    for name, pin in connection.server.pins.items():
        offered = connection.offered.get(name)
        fault = fault_of(connection.server, connection.version, offered, pin)
        if offered is not None and not fault:
            try:
                found.append(_tool(connection, offered, pin))
                continue
            except SchemaError as error:
                fault = str(error)
        log.warning(
            "mcp.tool_off",
            server=connection.server.name,
            tool=name,
            reason=fault,
            remedy=f"look at it, then: firstline mcp pin {connection.server.name}",
        )
    return found


def _tool(connection: Connection, offered: Offered, pin: Pin) -> Tool:
    server, name = connection.server, offered.name

    async def run(context: ToolContext, arguments: Mapping[str, Any]) -> str:
        now = connection.offered.get(name)
        if fault := fault_of(server, connection.version, now, pin):
            log.error("mcp.tool_changed", server=server.name, tool=name, reason=fault)
            raise ToolError("this tool has changed and is off until its operator approves it")
        return await connection.call(name, arguments)

    return Tool(
        name=f"{server.name}__{name}",
        description=offered.shown,
        parameters=compile_schema(offered.schema, where=f"{server.name}.{name}"),
        run=run,
        effect=pin.effect,
        idempotency=pin.idempotency,
        timeout_s=CALL_S + 1,
        is_foreign=True,
    )
