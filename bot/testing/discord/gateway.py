"""The gateway: identify, heartbeat, dispatch, resume with replay, and how it can go wrong."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from bot.testing.discord.watching import watched
from bot.testing.discord.world import Json, Posted, World
from bot.testing.faults import Order

GUILDS, GUILD_MESSAGES, DIRECT_MESSAGES, MESSAGE_CONTENT = 1, 1 << 9, 1 << 12, 1 << 15
# A clean close, not identified, a wrong sequence, timed out: the next RESUME is refused
# (docs.discord.com, opcodes and status codes)
ENDS_SESSION = frozenset({1000, 1001, 4003, 4007, 4009})


class Socket:
    """One connection, with Discord's transport compression when the client asked for it."""

    def __init__(self, request: web.Request, ws: web.WebSocketResponse) -> None:
        self._request, self._ws = request, ws
        asked = request.query.get("compress") == "zlib-stream"
        self._deflate = zlib.compressobj() if asked else None
        self.closed_with = 0  # by us
        self.is_mute = False

    async def send(self, op: int, data: Any = None, *, event: str = "", seq: int = 0) -> None:
        frame: Json = {"op": op, "d": data}
        if event:
            frame |= {"t": event, "s": seq}
        text = json.dumps(frame)
        watched(event or f"op {op}", data)
        if self._ws.closed or self.is_mute:
            return
        if self._deflate is None:
            await self._ws.send_str(text)
        else:
            packed = self._deflate.compress(text.encode())
            await self._ws.send_bytes(packed + self._deflate.flush(zlib.Z_SYNC_FLUSH))

    async def close(self, code: int) -> None:
        self.closed_with = code
        await self._ws.close(code=code)

    def cut(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()


@dataclass(eq=False)
class Session:
    session_id: str
    intents: int
    shard: tuple[int, int] = (0, 1)
    seq: int = 0
    log: list[tuple[int, str, Any]] = field(default_factory=list)
    socket: Socket | None = None


class Gateway:
    """Holds the sessions. What was dispatched to a session without a socket waits for RESUME."""

    def __init__(self, world: World, token: str) -> None:
        self._world, self._token = world, token
        self.heartbeat_interval_ms = 45_000
        self.withhold_acks = False
        self.content_intent_granted = True
        self.sessions: dict[str, Session] = {}
        self.counts: Counter[str] = Counter()
        self.shards: list[int] = []  # as they identified
        self.session_start = {
            "total": 1000,
            "remaining": 999,
            "reset_after": 0,
            "max_concurrency": 1,
        }
        self.identify_every_s = 0.0  # Discord: 5 s, per lane; most tests begin many sessions
        self.order: Order[tuple[str, Posted]] = Order()
        self._lane_free_at: dict[int, float] = {}
        self.url = ""

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        socket, session = Socket(request, ws), None
        self.counts["connected"] += 1
        await socket.send(10, {"heartbeat_interval": self.heartbeat_interval_ms})
        try:
            async for frame in ws:
                if frame.type is not WSMsgType.TEXT or len(frame.data) > 4096:
                    await socket.close(4002)
                    break
                data = json.loads(frame.data)
                if data["op"] == 1:
                    await self._beat(socket)
                elif data["op"] == 2:
                    session = await self._identify(socket, data["d"])
                elif data["op"] == 6:
                    session = await self._resume(socket, data["d"])
        finally:
            if session is not None and session.socket is socket:
                session.socket = None
                code = socket.closed_with or ws.close_code
                if code in ENDS_SESSION:
                    self.sessions.pop(session.session_id, None)
        return ws

    async def _beat(self, socket: Socket) -> None:
        self.counts["heartbeat"] += 1
        if not self.withhold_acks:
            await socket.send(11)

    async def _identify(self, socket: Socket, data: Json) -> Session | None:
        self.counts["identify"] += 1
        if data["token"] != self._token:
            await socket.close(4004)
            return None
        if data["intents"] & MESSAGE_CONTENT and not self.content_intent_granted:
            await socket.close(4014)
            return None
        shard_id, count = data.get("shard") or (0, 1)
        if not 0 <= shard_id < count:
            await socket.close(4010)
            return None
        if not self._lane_is_free(shard_id):
            self.counts["identify_refused"] += 1
            await socket.send(9, False)
            return None
        self.shards.append(shard_id)
        session = Session(
            secrets.token_hex(8), data["intents"], shard=(shard_id, count), socket=socket
        )
        self.sessions[session.session_id] = session
        guild = {"id": str(self._world.guild_id), "unavailable": True}
        ready = {
            "v": 10,
            "user": self._world.bot.payload(),
            "shard": [shard_id, count],
            "guilds": [guild] if self._serves_guild(session) else [],
            "session_id": session.session_id,
            "resume_gateway_url": self.url,
            "application": {"id": str(self._world.application_id), "flags": 1 << 18},
        }
        await self._dispatch(session, "READY", ready)
        if self._serves_guild(session):
            await self._dispatch(session, "GUILD_CREATE", self._world.guild_payload())
        return session

    def _lane_is_free(self, shard_id: int) -> bool:
        """One IDENTIFY per `shard % max_concurrency` (docs.discord.com, gateway, rate limits)."""
        lane, now = shard_id % self.session_start["max_concurrency"], time.monotonic()
        if now < self._lane_free_at.get(lane, 0.0):
            return False
        self._lane_free_at[lane] = now + self.identify_every_s
        return True

    def _serves_guild(self, session: Session) -> bool:
        """A guild belongs to one shard (docs.discord.com, gateway, sharding)."""
        shard_id, count = session.shard
        return (self._world.guild_id >> 22) % count == shard_id

    async def _resume(self, socket: Socket, data: Json) -> Session | None:
        session = self.sessions.get(data["session_id"] or "")
        if session is None or data["token"] != self._token:
            self.counts["resume_refused"] += 1
            await socket.send(9, False)
            return None
        self.counts["resumed"] += 1
        session.socket = socket
        for seq, event, payload in [entry for entry in session.log if entry[0] > data["seq"]]:
            await socket.send(0, payload, event=event, seq=seq)
        session.seq += 1
        await socket.send(0, {}, event="RESUMED", seq=session.seq)
        return session

    async def message(self, event: str, posted: Posted) -> None:
        """Dispatch a message to every session whose intents ask for it, in the order asked for."""
        ours = posted.author is self._world.bot
        for told in [(event, posted)] if ours else self.order.next((event, posted)):
            await self._message(*told)

    async def _message(self, event: str, posted: Posted) -> None:
        dm = posted.channel.kind == "dm"
        for session in list(self.sessions.values()):
            here = session.shard[0] == 0 if dm else self._serves_guild(session)
            if here and session.intents & (DIRECT_MESSAGES if dm else GUILD_MESSAGES):
                payload = self._world.message_payload(posted, event=True)
                bot = self._world.bot
                told = dm or posted.author is bot or bot in posted.mentions
                if not told and not session.intents & MESSAGE_CONTENT:
                    payload |= {"content": "", "attachments": [], "embeds": [], "components": []}
                await self._dispatch(session, event, payload)

    async def broadcast(self, event: str, payload: Json) -> None:
        for session in list(self.sessions.values()):
            await self._dispatch(session, event, payload)

    async def _dispatch(self, session: Session, event: str, payload: Json) -> None:
        session.seq += 1
        session.log.append((session.seq, event, payload))
        if session.socket is not None:
            await session.socket.send(0, payload, event=event, seq=session.seq)

    def drop(self) -> None:
        """Cut every connection without a closing frame; the sessions stay resumable."""
        for session in self.sessions.values():
            if session.socket is not None:
                session.socket.cut()
                session.socket = None

    def mute(self) -> None:
        """The connections of now carry nothing more, though they stay open: half a TCP."""
        for session in self.sessions.values():
            if session.socket is not None:
                session.socket.is_mute = True

    async def tell(self, op: int, data: Any = None) -> None:
        """Send op 7 (reconnect) or op 9 (invalid session) to everyone."""
        for session in list(self.sessions.values()):
            if session.socket is not None:
                await session.socket.send(op, data)

    async def close_all(self, code: int) -> None:
        sockets = [s.socket for s in self.sessions.values() if s.socket is not None]
        await asyncio.gather(*(socket.close(code) for socket in sockets))
