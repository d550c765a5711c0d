"""A fake Mattermost on a loopback port: REST API version 4, the event socket, files.

`async with MattermostTwin() as server:` and point a client at `server.url`. People act by `say`,
`edit`, `remove`; tests look by `posts`, `edits_of`, `wait_for`, and cut things by `cut_sockets`,
`cut_after`, `scripted_429`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from bot.testing.loopback import Loopback
from bot.testing.mattermost.rest import Rest
from bot.testing.mattermost.socket import Sockets
from bot.testing.mattermost.world import Channel, User, World

__all__ = ["Channel", "MattermostTwin", "User"]

Json = dict[str, Any]


class MattermostTwin:
    def __init__(self) -> None:
        self.world = World()
        self.sockets = Sockets(self.world)
        self.rest = Rest(self.world, self.sockets)
        self.token, self.previews = self.world.token, self.rest.previews
        self.url = ""
        self._server = Loopback()
        self.add_user, self.add_channel = self.world.add_user, self.world.add_channel

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**25)
        app.router.add_get("/api/v4/websocket", self.sockets.serve)
        self.rest.add_routes(app)
        self.url = await self._server.open(app)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.sockets.cut()
        await self.previews.settle()
        await self._server.close()

    async def say(
        self,
        user: str,
        channel: str,
        text: str,
        *,
        root: str = "",
        files: Sequence[tuple[str, bytes]] = (),
        mention_bot: bool = False,
        told: int = 1,
    ) -> str:
        """A person says something, told to the sockets `told` times; returns the post's id."""
        text = f"@{self.world.bot.username} {text}" if mention_bot else text
        ids = [self.world.add_file(channel, *each) for each in files]
        post = self.world.add_post(user, channel, text, root_id=root, file_ids=ids)
        for _ in range(told):
            await self.sockets.tell("posted", post)
        return str(post["id"])

    async def edit(self, post_id: str, text: str) -> None:
        await self.sockets.tell("post_edited", self.world.edit_post(post_id, text))

    async def remove(self, post_id: str) -> None:
        await self.sockets.tell("post_deleted", self.world.delete_post(post_id))

    async def cut_sockets(self) -> None:
        """Every event socket is closed; what happens until the next is not told."""
        await self.sockets.cut()

    def posts(self, channel: str, *, user: str | None = None) -> list[Json]:
        """What stands in the channel, in order; of one user or of the bot by default."""
        user = user or self.world.bot.user_id
        found = (each for each in self.world.posts.values() if each["channel_id"] == channel)
        return [each for each in found if each["user_id"] == user and not each["delete_at"]]

    def replies(self, channel: str) -> list[str]:
        return [str(each["message"]) for each in self.posts(channel)]

    def edits_of(self, post_id: str) -> list[str]:
        return [text for edited, text in self.world.edits if edited == post_id]

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
