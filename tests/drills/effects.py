"""A service outside that the bots' tools change, and the tools: what may happen once only."""

from __future__ import annotations

from collections import Counter
from typing import Self

from aiohttp import web

from adapters.models.scripted import Reply, Step, demo_policy
from agents.ports import ModelRequest

TOOLS = '''
"""The tools of a crash drill: each changes something outside."""

import aiohttp

from tools.contract import ToolContext
from tools.decorator import tool


@tool(effect="write", idempotency="key", example=("Keep 12.", {"what": "12"}))
async def keep(what: str, context: ToolContext) -> str:
    """Keep a number; the service knows the call's key and keeps it once."""
    return await _post({"what": what, "key": context.call_key})


@tool(effect="write", idempotency="none", example=("Send 12.", {"what": "12"}))
async def send(what: str, context: ToolContext) -> str:
    """Send a number; twice would be twice."""
    return await _post({"what": what, "key": ""})


async def _post(body: dict) -> str:
    async with aiohttp.ClientSession() as session:
        async with session.post(URL, json=body) as answer:
            return await answer.text()
'''
MAYBE = "may or may not have been done"


class Effects:
    """The service; `kept` and `sent` count what was really done."""

    def __init__(self) -> None:
        self.kept: Counter[str] = Counter()  # by what, each key once
        self.sent: Counter[str] = Counter()
        self._keys: set[str] = set()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/change", self._change)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/change"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _change(self, request: web.Request) -> web.Response:
        asked = await request.json()
        what, key = asked["what"], asked["key"]
        if not key:
            self.sent[what] += 1
        elif key not in self._keys:
            self._keys.add(key)
            self.kept[what] += 1
        return web.Response(text=f"done {what}")


def with_effects(request: ModelRequest) -> Reply:
    """Both tools and the sum in one step for "Do 12", then an answer of what they gave."""
    reply = demo_policy(request)
    asked = reply.value["step"] if isinstance(reply, Step) else None
    if not isinstance(asked, dict) or asked["action"] != "calculate":
        return reply
    number = str(asked["arguments"]["expression"]).partition("*")[0]
    calls = [{"action": name, "arguments": {"what": number}} for name in ("keep", "send")]
    return Step({"thought": "All at once.", "step": [*calls, asked]})
