"""Socket Mode: envelopes with acks, resends when none comes, refreshed connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

Json = dict[str, Any]


@dataclass(slots=True)
class Envelope:
    """One thing to deliver, however often it takes."""

    kind: str
    payload: Json
    resend: bool
    tries: int = 0
    acked: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Json | None = None


class SocketMode:
    """The app's sockets; each envelope goes to one of them."""

    def __init__(self) -> None:
        self.ack_timeout_s = 3.0
        self.resend_after_s: tuple[float, ...] = (0.0, 60.0, 300.0)
        self.refuses = False  # every new connection
        self.loses_when_away = False  # as after the last resend: nobody connected, nobody told
        self.delivered: list[Envelope] = []
        self.connections = 0
        self._urls: set[str] = set()
        self._sockets: list[web.WebSocketResponse] = []
        self._waiting: dict[str, Envelope] = {}
        self._turn = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connected = asyncio.Event()

    def issue_ticket(self) -> str:
        """A single-use ticket for one connection."""
        ticket = uuid.uuid4().hex
        self._urls.add(ticket)
        return ticket

    async def serve(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._urls or self.refuses:
            return web.Response(status=403)
        self._urls.discard(ticket)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        await socket.send_json(
            {
                "type": "hello",
                "num_connections": len(self._sockets) + 1,
                "debug_info": {"host": "twin", "approximate_connection_time": 18060},
                "connection_info": {"app_id": "A0TWIN"},
            }
        )
        self._sockets.append(socket)
        self._connected.set()
        try:
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    self._take_ack(json.loads(frame.data))
        finally:
            self._sockets.remove(socket)
            if not self._sockets:
                self._connected.clear()
        return socket

    def _take_ack(self, frame: Json) -> None:
        envelope = self._waiting.pop(str(frame.get("envelope_id")), None)
        if envelope is not None:
            envelope.answer = frame.get("payload")
            envelope.acked.set()

    def send(self, kind: str, payload: Json, *, resend: bool = True) -> Envelope:
        """Deliver in the background, with the platform's resends."""
        envelope = Envelope(kind, payload, resend)
        self.delivered.append(envelope)
        task = asyncio.create_task(self._deliver(envelope), name=f"twin envelope {kind}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return envelope

    async def _deliver(self, envelope: Envelope) -> None:
        pauses = (0.0, *self.resend_after_s) if envelope.resend else (0.0,)
        for attempt, pause_s in enumerate(pauses):
            await asyncio.sleep(pause_s)
            if self.loses_when_away and not self._sockets:
                return
            await self._connected.wait()
            await self._send_once(envelope, attempt)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.ack_timeout_s):
                    await envelope.acked.wait()
                    return

    async def _send_once(self, envelope: Envelope, attempt: int) -> None:
        envelope_id = str(uuid.uuid4())
        frame: Json = {
            "envelope_id": envelope_id,
            "type": envelope.kind,
            "payload": envelope.payload,
            "accepts_response_payload": envelope.kind != "events_api",
        }
        if envelope.kind == "events_api":
            reason = {"retry_reason": "timeout" if attempt else ""}
            frame |= {"retry_attempt": attempt, **reason}
        self._waiting[envelope_id] = envelope
        envelope.tries += 1
        socket = self._sockets[next(self._turn) % len(self._sockets)]
        with contextlib.suppress(ConnectionError):
            await socket.send_json(frame)

    async def connected(self, timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            await self._connected.wait()

    async def refresh(self, reason: str = "refresh_requested") -> None:
        """Ask every client to come back on a new connection."""
        for socket in list(self._sockets):
            await socket.send_json({"type": "disconnect", "reason": reason})

    async def cut(self) -> None:
        """Drop every connection without a word."""
        for socket in list(self._sockets):
            await socket.close(code=1011)

    async def aclose(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.cut()
