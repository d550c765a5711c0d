"""Socket Mode: envelopes with acks, resends when none comes, refreshed connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from bot.testing.faults import Order
from bot.testing.slack.watching import watched

Json = dict[str, Any]
MOST_SOCKETS = 10  # of one app
_DEBUG = {"host": "applink-twin"}


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
        self.most_sockets = MOST_SOCKETS
        self.closes_after_s = 10.0  # a warning
        self.lost_acks = 0
        self.order: Order[Envelope] = Order()
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
        if len(self._sockets) >= self.most_sockets:
            await _send(socket, _disconnect("too_many_websockets"))
            await socket.close()
            return socket
        self.connections += 1
        hello = {
            "type": "hello",
            "num_connections": len(self._sockets) + 1,
            "debug_info": _DEBUG | {"approximate_connection_time": 18060},
            "connection_info": {"app_id": "A0TWIN"},
        }
        await _send(socket, hello)
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
        if self.lost_acks > 0:
            self.lost_acks -= 1
            return
        envelope = self._waiting.pop(str(frame.get("envelope_id")), None)
        if envelope is not None:
            envelope.answer = frame.get("payload")
            envelope.acked.set()

    def send(self, kind: str, payload: Json, *, resend: bool = True) -> Envelope:
        """Deliver in the background, with the platform's resends."""
        envelope = Envelope(kind, payload, resend)
        self.delivered.append(envelope)
        for each in self.order.next(envelope) if _by_people(envelope) else [envelope]:
            self._beside(self._deliver(each), f"twin envelope {kind}")
        return envelope

    def _beside(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
            await _send(socket, frame)

    async def connected(self, timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            await self._connected.wait()

    async def refresh(self) -> None:
        """Ask every client to come back on a new connection."""
        await self.disconnect("refresh_requested")

    async def disconnect(self, reason: str) -> None:
        """Tell every client so; a warning is followed by the end, a disabled link is one."""
        sockets = list(self._sockets)
        self.refuses = self.refuses or reason == "link_disabled"
        for socket in sockets:
            await _send(socket, _disconnect(reason))
        if reason != "refresh_requested":
            wait_s = self.closes_after_s if reason == "warning" else 0.0
            self._beside(_close(sockets, wait_s), "twin closes sockets")

    async def cut(self) -> None:
        """Drop every connection without a word."""
        for socket in list(self._sockets):
            await socket.close(code=1011)

    async def aclose(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.cut()


async def _send(socket: web.WebSocketResponse, frame: Json) -> None:
    watched("socket", frame)
    await socket.send_json(frame)


def _disconnect(reason: str) -> Json:
    return {"type": "disconnect", "reason": reason, "debug_info": _DEBUG}


async def _close(sockets: list[web.WebSocketResponse], wait_s: float) -> None:
    await asyncio.sleep(wait_s)
    for socket in sockets:
        await socket.close()


def _by_people(envelope: Envelope) -> bool:
    """Events of the app's own messages are left alone by faults."""
    return envelope.kind == "events_api" and "app_id" not in (envelope.payload.get("event") or {})
