"""The REST API, version 4: the calls a bot makes, with Mattermost's codes and refusals."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from bot.testing.mattermost.previews import fetched
from bot.testing.mattermost.socket import Sockets
from bot.testing.mattermost.world import MAX_POST_RUNES, World
from bot.testing.previews import Previewer

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def refused(status: int, error: str) -> web.Response:
    return web.json_response({"id": error, "message": error, "status_code": status}, status=status)


class Rest:
    """Counts calls as `POST posts`; `cut_before` drops the connection without effect,
    `cut_after` with it."""

    def __init__(self, world: World, sockets: Sockets) -> None:
        self._world, self._sockets = world, sockets
        self.calls: Counter[str] = Counter()
        self.log: list[tuple[float, str]] = []  # monotonic, and the call
        self.scripted_429: dict[str, deque[int]] = {}  # seconds until calls are free again
        self.cut_before: Counter[str] = Counter()
        self.cut_after: Counter[str] = Counter()
        self.pending_known_s = 30.0  # how long a pending post's id is remembered
        self.uploaded: list[str] = []
        self.previews = Previewer()
        self._pending: dict[str, tuple[float, str]] = {}

    def add_routes(self, app: web.Application) -> None:
        for method, path, serve in (
            ("GET", "users/me", self._me),
            ("GET", "users/me/teams", self._teams),
            ("GET", "users/me/channels", self._channels),
            ("GET", "users/{id}", self._user),
            ("GET", "channels/{id}", self._channel),
            ("GET", "channels/{id}/posts", self._since),
            ("GET", "posts/{id}/thread", self._thread),
            ("POST", "posts", self._create),
            ("PUT", "posts/{id}/patch", self._patch),
            ("DELETE", "posts/{id}", self._delete),
            ("POST", "files", self._upload),
            ("GET", "files/{id}", self._file),
        ):
            name = f"{method} {path}"
            app.router.add_route(method, f"/api/v4/{path}", self._guarded(name, serve))

    def _guarded(self, name: str, serve: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            self.calls[name] += 1
            self.log.append((time.monotonic(), name))
            if request.headers.get("Authorization") != f"Bearer {self._world.token}":
                return refused(401, "api.context.session_expired.app_error")
            if waits := self.scripted_429.get(name):
                headers = {
                    "X-Ratelimit-Limit": "101",
                    "X-Ratelimit-Remaining": "0",
                    "X-Ratelimit-Reset": str(waits.popleft()),
                }
                return web.Response(status=429, text="limit exceeded", headers=headers)
            if self.cut_before[name] > 0 and request.transport is not None:
                self.cut_before[name] -= 1
                request.transport.abort()
                return web.Response(status=500)
            try:
                answer = await serve(request)
            except KeyError:
                return refused(404, "app.not_found.app_error")
            if self.cut_after[name] > 0 and request.transport is not None:
                self.cut_after[name] -= 1
                request.transport.abort()
            return answer

        return guarded

    async def _me(self, _: web.Request) -> web.Response:
        return web.json_response(self._world.bot.to_json())

    async def _teams(self, _: web.Request) -> web.Response:
        return web.json_response([{"id": self._world.team_id, "create_at": 1}])

    async def _channels(self, _: web.Request) -> web.Response:
        return web.json_response([each.to_json() for each in self._world.channels.values()])

    async def _user(self, request: web.Request) -> web.Response:
        return web.json_response(self._world.users[request.match_info["id"]].to_json())

    async def _channel(self, request: web.Request) -> web.Response:
        return web.json_response(self._world.channels[request.match_info["id"]].to_json())

    async def _since(self, request: web.Request) -> web.Response:
        """Everything that changed since, deleted posts too, as Mattermost gives it."""
        channel, since = request.match_info["id"], int(request.query.get("since", 0))
        posts = [each for each in self._world.posts.values() if each["channel_id"] == channel]
        return _listed([each for each in posts if each["update_at"] > since][-1000:])

    async def _thread(self, request: web.Request) -> web.Response:
        root = self._live(request.match_info["id"])["id"]
        posts = self._world.posts.values()
        return _listed(
            [
                each
                for each in posts
                if root in (each["id"], each["root_id"]) and not each["delete_at"]
            ]
        )

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        if len(body.get("message", "")) > MAX_POST_RUNES:
            return refused(400, "model.post.is_valid.message_length.app_error")
        if not body.get("message") and not body.get("file_ids"):
            return refused(400, "api.post.create_post.empty.app_error")
        if body.get("root_id") and self._live(body["root_id"])["root_id"]:
            return refused(400, "api.post.create_post.root_id.app_error")
        pending, bot = str(body.get("pending_post_id", "")), self._world.bot.user_id
        at, known = self._pending.get(pending, (0.0, ""))
        if pending and time.monotonic() - at < self.pending_known_s:
            return web.json_response(self._world.posts[known], status=201)
        post = self._world.add_post(
            bot,
            body["channel_id"],
            body.get("message", ""),
            root_id=body.get("root_id", ""),
            file_ids=body.get("file_ids"),
            props=body.get("props"),
            pending_post_id=pending,
        )
        self._pending[pending] = time.monotonic(), post["id"]
        self.previews.look("post", fetched(post["message"], post["props"]))
        await self._sockets.tell("posted", post)
        return web.json_response(post, status=201)

    async def _patch(self, request: web.Request) -> web.Response:
        post = self._live(request.match_info["id"])
        body = await request.json()
        if len(body.get("message", "")) > MAX_POST_RUNES:
            return refused(400, "model.post.is_valid.message_length.app_error")
        if post["user_id"] != self._world.bot.user_id:
            return refused(403, "api.context.permissions.app_error")
        post = self._world.edit_post(post["id"], body["message"])
        self.previews.look("edit", fetched(post["message"], body.get("props", post["props"])))
        await self._sockets.tell("post_edited", post)
        return web.json_response(post)

    async def _delete(self, request: web.Request) -> web.Response:
        post = self._live(request.match_info["id"])
        self._world.delete_post(post["id"])
        await self._sockets.tell("post_deleted", post)
        return web.json_response({"status": "OK"})

    async def _upload(self, request: web.Request) -> web.Response:
        channel, name = request.query["channel_id"], request.query["filename"]
        file_id = self._world.add_file(channel, name, await request.read())
        self.uploaded.append(file_id)
        info = self._world.files[file_id][0]
        return web.json_response({"file_infos": [info], "client_ids": []}, status=201)

    async def _file(self, request: web.Request) -> web.Response:
        info, content = self._world.files[request.match_info["id"]]
        await asyncio.sleep(0)
        return web.Response(body=content, content_type=info["mime_type"])

    def _live(self, post_id: str) -> Json:
        post = self._world.posts[post_id]
        if post["delete_at"]:
            raise KeyError(post_id)
        return post


def _listed(posts: list[Json]) -> web.Response:
    newest_first = sorted(posts, key=lambda post: -int(post["create_at"]))
    order = [each["id"] for each in newest_first]
    return web.json_response({"order": order, "posts": {each["id"]: each for each in posts}})
