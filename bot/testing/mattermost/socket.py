"""The event socket: an authentication challenge, a hello, then numbered events, never again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
from aiohttp import web

from bot.testing.mattermost.world import World

Json = dict[str, Any]


class Sockets:
    def __init__(self, world: World) -> None:
        self._world = world
        self._live: dict[web.WebSocketResponse, int] = {}
        self.opened = 0
        self.refuses = False  # a server that is being restarted

    @property
    def count(self) -> int:
        return len(self._live)

    async def connected(self, timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not self._live:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if self.refuses:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            async for packet in socket:
                if packet.type is aiohttp.WSMsgType.TEXT:
                    await self._act(socket, json.loads(packet.data))
        finally:
            self._live.pop(socket, None)
        return socket

    async def _act(self, socket: web.WebSocketResponse, request: Json) -> None:
        if request.get("action") != "authentication_challenge":
            return
        if (request.get("data") or {}).get("token") != self._world.token:
            await socket.close()
            return
        self._live[socket] = 0
        self.opened += 1
        await socket.send_json({"status": "OK", "seq_reply": request.get("seq")})
        await self._send(socket, "hello", {"server_version": "10.5.0"}, {})

    async def tell(self, event: str, post: Json) -> None:
        """To everybody who is connected now; who is not never hears of it."""
        channel = self._world.channels[post["channel_id"]]
        sender = self._world.users[post["user_id"]].username
        data = {
            "channel_type": channel.type,
            "team_id": channel.team_id,
            "sender_name": f"@{sender}",
            "post": json.dumps(post),
        }
        broadcast = {"channel_id": channel.channel_id}
        for socket in list(self._live):
            await self._send(socket, event, data, broadcast)

    async def cut(self) -> None:
        for socket in list(self._live):
            self._live.pop(socket, None)
            await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)

    async def _send(
        self, socket: web.WebSocketResponse, event: str, data: Json, broadcast: Json
    ) -> None:
        seq = self._live.get(socket)
        if seq is None or socket.closed:
            return
        self._live[socket] = seq + 1
        try:
            await socket.send_json(
                {"event": event, "data": data, "broadcast": broadcast, "seq": seq}
            )
        except (ConnectionError, aiohttp.ClientError):
            self._live.pop(socket, None)
