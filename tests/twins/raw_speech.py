"""What the twins of local model servers share: a script behind a raw completion endpoint."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from adapters.models.scripted import Cut, Fail, FailMidStream, Policy, Reply, Stall, limited
from adapters.models.scripted_replies import Spoken, spoken
from agents.errors import BackendError
from agents.ports import FinishReason, ModelRequest, PromptMessage


@dataclass(slots=True)
class Script:
    """Replies in turn or by a policy; keeps what was asked and who hung up."""

    replies: Sequence[Reply] | Policy
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=64))
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    _next: int = 0

    def reply(self, asked: ModelRequest) -> Reply:
        if callable(self.replies):
            return self.replies(asked)
        if self._next >= len(self.replies):
            return Fail(BackendError("twin", "the script is over", retryable=True), status=500)
        self._next += 1
        return self.replies[self._next - 1]


def asked_of(
    prompt: str, *, max_tokens: int, stop: Sequence[str], schema: Mapping[str, Any] | None
) -> ModelRequest:
    message = PromptMessage("user", prompt)
    return ModelRequest((message,), max_tokens, stop=tuple(stop), schema=schema)


async def speak(
    request: web.Request,
    script: Script,
    asked: ModelRequest,
    reply: Spoken,
    *,
    content_type: str,
    piece: Callable[[str], bytes],
    error: bytes,
    ending: Callable[[str, FinishReason], bytes],
) -> web.StreamResponse:
    """Stream the reply in the server's own chunks; notes a client that leaves."""
    text, reason = limited(reply.text, asked)
    answer = web.StreamResponse(headers={"Content-Type": content_type})
    try:
        await answer.prepare(request)
        for each in spoken(reply, text):
            await asyncio.sleep(reply.delay_s)
            await answer.write(piece(each))
        match reply:
            case Stall():
                await asyncio.Event().wait()
            case FailMidStream():
                await answer.write(error)
            case Cut():
                await asyncio.sleep(0)
                if request.transport is not None:
                    request.transport.close()
            case _:
                await answer.write(ending(text, reason))
    except (asyncio.CancelledError, ConnectionResetError):
        script.disconnected.set()
        raise
    return answer


class Serving:
    """A twin's web server on a free loopback port: `async with Serving(app) as url:`."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )

    async def __aenter__(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()
