"""A real MCP server, over stdio or HTTP; what it offers is set by its environment.

MCP_EXTRA     words added to a description
MCP_VERSION   its version
MCP_HTTP      a port: streamable HTTP there instead of stdio
"""

from __future__ import annotations

import asyncio
import os
import signal

from mcp.server.mcpserver import MCPServer

server = MCPServer("shop", version=os.environ.get("MCP_VERSION", "1.0"), log_level="ERROR")


@server.tool(description=f"How many are in stock.{os.environ.get('MCP_EXTRA', '')}")
def stock(article: str) -> str:
    return f"3 {article} in stock"


@server.tool(description="What the server's environment holds.")
def environment(name: str) -> str:
    return os.environ.get(name, "nothing")


@server.tool(description="Never answers.")
async def hang(seconds: int) -> str:
    await asyncio.sleep(seconds)
    return "at last"


@server.tool(description="Ends the server.")
def crash(hard: bool) -> str:
    os.kill(os.getpid(), signal.SIGKILL if hard else signal.SIGTERM)
    return "never"


@server.tool(description="Fails.")
def fail(article: str) -> str:
    raise ValueError(f"no {article}")


if __name__ == "__main__":
    if port := os.environ.get("MCP_HTTP"):
        server.run("streamable-http", host="127.0.0.1", port=int(port))
    else:
        server.run("stdio")
