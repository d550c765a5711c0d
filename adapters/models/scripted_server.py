"""A scripted model behind an OpenAI-compatible HTTP server, with faults on demand.

`python -m adapters.models.scripted_server --port 8123` serves the demo script.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from adapters.models import scripted_wire as wire
from adapters.models.scripted import (
    DEFAULT_CAPABILITIES,
    Cut,
    Fail,
    FailMidStream,
    Reply,
    Stall,
    demo_policy,
    limited,
    prompt_tokens,
    scripted_tokens,
)
from adapters.models.scripted_replies import Spoken, spoken
from agents.errors import BackendError
from agents.ports import Capabilities, ModelRequest

_KEPT_REQUESTS = 256
_MAX_BODY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection before the first byte of an answer."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Send these bytes as they are: recorded streams, refusals, garbage."""

    body: bytes
    status: int = 200
    content_type: str = "text/event-stream"


HttpReply = Reply | Drop | Raw
HttpPolicy = Callable[[ModelRequest], HttpReply]


class ScriptedServer:
    """Serves a policy or a list of replies; `async with ScriptedServer(policy) as url:`.

    `requests` keeps the last request bodies, `disconnects` counts clients that left before
    the end. `formats` are the response formats it understands; others get HTTP 400.
    """

    def __init__(
        self,
        replies: Sequence[HttpReply] | HttpPolicy = demo_policy,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        model: str = "scripted",
        api_key: str | None = None,
        formats: Sequence[str] = ("text", "json_object", "json_schema"),
        capabilities: Capabilities = DEFAULT_CAPABILITIES,
    ) -> None:
        self._host, self._port, self._model, self._api_key = host, port, model, api_key
        self._formats, self._capabilities = frozenset(formats), capabilities
        self._policy: HttpPolicy = replies if callable(replies) else _in_turn(tuple(replies))
        self._runner: web.AppRunner | None = None
        self._bodies: deque[bytes] = deque(maxlen=_KEPT_REQUESTS)
        self.disconnects = 0
        self.disconnected = asyncio.Event()
        self.connections: set[str] = set()  # client addresses seen: how well keep-alive works

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(body) for body in self._bodies]

    async def __aenter__(self) -> str:
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/tokenize", self._tokenize)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        port = self._runner.addresses[0][1]
        return f"http://{self._host}:{port}/v1"

    async def __aexit__(self, *exc: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        model = {"id": self._model, "object": "model", "created": 0, "owned_by": "firstline"}
        return web.json_response({"object": "list", "data": [model]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        asked = await request.json()
        count = scripted_tokens(str(asked.get("prompt") or asked.get("content") or ""))
        return web.json_response({"count": count, "tokens": list(range(count))})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.connections.add(
            str(request.transport and request.transport.get_extra_info("peername"))
        )
        if self._api_key and request.headers.get("Authorization") != f"Bearer {self._api_key}":
            return _refusal(401, "Incorrect API key provided", "invalid_api_key")
        try:
            chat = wire.read_chat(body)
            asked = wire.to_model_request(chat)
        except wire.BadRequest as error:
            return _refusal(400, str(error), "invalid_request_error")
        self._bodies.append(body)
        if refusal := self._unfit(chat, asked):
            return refusal
        reply = self._policy(asked)
        match reply:
            case Drop():
                return _break_off(request)
            case Raw():
                return web.Response(
                    body=reply.body, status=reply.status, content_type=reply.content_type
                )
            case Fail():
                return _refusal(reply.status, reply.error.detail, "scripted_failure")
        try:
            if chat.stream:
                return await self._stream(request, chat, asked, reply)
            return await self._whole(asked, reply)
        except (asyncio.CancelledError, ConnectionResetError):
            self.disconnects += 1
            self.disconnected.set()
            raise

    def _unfit(self, chat: wire.ChatRequest, asked: ModelRequest) -> web.Response | None:
        """What a real server refuses."""
        if chat.model not in ("", self._model):
            return _refusal(404, f"The model `{chat.model}` does not exist.", "model_not_found")
        if chat.response_format and chat.response_format.type not in self._formats:
            detail = f"response_format type {chat.response_format.type!r} is not supported"
            return _refusal(400, detail, "invalid_request_error")
        tokens, limit = prompt_tokens(asked, self._capabilities), self._capabilities.context_tokens
        if tokens + asked.max_tokens > limit:
            detail = f"This model's maximum context length is {limit} tokens."
            return _refusal(400, detail, "context_length_exceeded")
        return None

    async def _whole(self, asked: ModelRequest, reply: Spoken) -> web.Response:
        if isinstance(reply, Stall):
            await asyncio.Event().wait()
        if isinstance(reply, FailMidStream | Cut):
            return _refusal(500, "scripted failure", "scripted_failure")
        text, reason = limited(reply.text, asked)
        counts = wire.usage(prompt_tokens(asked, self._capabilities), scripted_tokens(text))
        return web.Response(
            body=wire.completion(self._model, text, reason, counts),
            content_type="application/json",
        )

    async def _stream(
        self, request: web.Request, chat: wire.ChatRequest, asked: ModelRequest, reply: Spoken
    ) -> web.StreamResponse:
        text, reason = limited(reply.text, asked)
        model = self._model
        deltas = [wire.delta(model, piece) for piece in spoken(reply, text)]
        tail = wire.ending(model, reason)
        if chat.wants_usage:
            counts = (prompt_tokens(asked, self._capabilities), scripted_tokens(text))
            tail += wire.usage_chunk(model, *counts)
        tail += wire.DONE
        broken = isinstance(reply, Stall | FailMidStream | Cut)
        if not reply.delay_s and not broken:  # one burst, one write
            burst = b"".join((wire.opening(model), *deltas, tail))
            return web.Response(body=burst, content_type="text/event-stream")
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(wire.opening(model))
        for each in deltas:
            await asyncio.sleep(reply.delay_s)
            await answer.write(each)
        match reply:
            case Stall():
                await asyncio.Event().wait()
            case FailMidStream():
                error = {"message": reply.error.detail, "type": "server_error", "code": None}
                await answer.write(wire.event({"error": error}))
            case Cut():
                await asyncio.sleep(0)
                _break_off(request)
            case _:
                await answer.write(tail)
        return answer


def _in_turn(replies: tuple[HttpReply, ...]) -> HttpPolicy:
    rest = iter(replies)
    over = Fail(BackendError("scripted", "the script is over", retryable=True), status=500)
    return lambda request: next(rest, over)


def _refusal(status: int, message: str, code: str) -> web.Response:
    body = wire.error_body(
        message, "invalid_request_error" if status < 500 else "server_error", code
    )
    return web.Response(body=body, status=status, content_type="application/json")


def _break_off(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def _serve(host: str, port: int) -> None:
    async with ScriptedServer(demo_policy, host=host, port=port) as url:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m adapters.models.scripted_server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.host, options.port))


if __name__ == "__main__":
    main()
