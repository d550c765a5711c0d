"""The REST routes of the fake: what discord.py 2.7 and the bot call, and their refusals."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from bot.testing.discord.gateway import Gateway
from bot.testing.discord.limits import Refused, json_answer
from bot.testing.discord.previews import fetched, surface_of
from bot.testing.discord.usual import COMMAND
from bot.testing.discord.world import Channel, Json, Posted, World
from bot.testing.previews import Previewer

CONTENT_LIMIT = 2000


async def body_of(request: web.Request) -> Json:
    """The JSON body, or the `payload_json` part of a multipart one; files land in `_files`."""
    if not request.content_type.startswith("multipart/"):
        return dict(await request.json()) if request.can_read_body else {}
    form = await request.post()
    body: Json = json.loads(str(form["payload_json"]))
    parts = [part for part in form.values() if isinstance(part, web.FileField)]
    body["_files"] = [(part.filename, part.file.read()) for part in parts]
    return body


class Rest:
    """Handlers over the world; every write is dispatched on the gateway as well."""

    def __init__(self, world: World, gateway: Gateway) -> None:
        self._world, self._gateway = world, gateway
        self.flags = (1 << 18) | (1 << 19)  # GATEWAY_MESSAGE_CONTENT and its LIMITED form
        self.typing: list[int] = []
        self.nonces: dict[str, Posted] = {}
        self.previews = Previewer()

    def routes(self) -> list[web.RouteDef]:
        api, message = "/api/v10", "/channels/{channel}/messages"
        return [
            web.get(api + "/users/@me", self._me),
            web.get(api + "/gateway", self._gateway_url),
            web.get(api + "/gateway/bot", self._gateway_url),
            web.get(api + "/oauth2/applications/@me", self._application),
            web.get(api + "/applications/{app}/commands", self._commands),
            web.put(api + "/applications/{app}/commands", self._put_commands),
            web.get(api + "/channels/{channel}", self._channel_info),
            web.patch(api + "/channels/{channel}", self._change_channel),
            web.get(api + message, self._list),
            web.post(api + message, self._create),
            web.get(api + message + "/{message}", self._get),
            web.patch(api + message + "/{message}", self._edit),
            web.delete(api + message + "/{message}", self._delete),
            web.post(api + "/channels/{channel}/typing", self._type),
            web.post(api + message + "/{message}/threads", self._thread),
            web.put(api + message + "/{message}/reactions/{emoji}/@me", self._react),
        ]

    async def _me(self, _: web.Request) -> web.Response:
        return json_answer(200, self._world.bot.payload())

    async def _gateway_url(self, _: web.Request) -> web.Response:
        limits = self._gateway.session_start
        shown = {"url": self._gateway.url, "shards": 1, "session_start_limit": limits}
        return json_answer(200, shown)

    async def _application(self, _: web.Request) -> web.Response:
        shown: Json = {
            "id": str(self._world.application_id),
            "name": "firstline",
            "icon": None,
            "description": "",
            "summary": "",
            "bot_public": False,
            "bot_require_code_grant": False,
            "owner": self._world.bot.payload(),
            "verify_key": "00",
            "flags": self.flags,
        }
        return json_answer(200, shown)

    async def _commands(self, _: web.Request) -> web.Response:
        return json_answer(200, self._world.commands)

    async def _put_commands(self, request: web.Request) -> web.Response:
        asked: list[Json] = await request.json()
        ids = {"application_id": str(self._world.application_id), "version": "1"}
        self._world.commands = [
            {**COMMAND, **_given(command), **ids, "id": str(self._world.new_id())}
            for command in asked
        ]
        return json_answer(200, self._world.commands)

    def _channel(self, request: web.Request) -> Channel:
        channel = self._world.channels.get(int(request.match_info["channel"]))
        if channel is None:
            raise Refused(404, 10003, "Unknown Channel")
        return channel

    def _message(self, request: web.Request) -> Posted:
        posted = self._world.messages.get(int(request.match_info["message"]))
        if posted is None or posted.channel is not self._channel(request) or posted.ephemeral:
            raise Refused(404, 10008, "Unknown Message")
        return posted

    async def _channel_info(self, request: web.Request) -> web.Response:
        return json_answer(200, self._world.channel_payload(self._channel(request)))

    async def _change_channel(self, request: web.Request) -> web.Response:
        """Whether a thread is archived: what is locked, a moderator opens."""
        channel, body = self._channel(request), await body_of(request)
        if channel.kind == "thread" and "archived" in body:
            if channel.locked:
                raise Refused(403, 50013, "Missing Permissions")
            channel.archived = bool(body["archived"])
        shown = self._world.channel_payload(channel)
        await self._gateway.broadcast("THREAD_UPDATE", shown)
        return json_answer(200, shown)

    async def _list(self, request: web.Request) -> web.Response:
        found = [p for p in self._world.in_channel(self._channel(request)) if not p.ephemeral]
        after, before = (int(request.query.get(key, 0)) for key in ("after", "before"))
        found = [p for p in found if p.id > after and (not before or p.id < before)]
        limit = int(request.query.get("limit", 50))
        chosen = found[:limit] if after else found[-limit:]
        return json_answer(200, [self._world.message_payload(p) for p in reversed(chosen)])

    async def _create(self, request: web.Request) -> web.Response:
        channel, body = self._channel(request), await body_of(request)
        if channel.locked:
            raise Refused(400, 50083, "Thread is archived")
        channel.archived = False
        nonce = body.get("nonce")
        if nonce is not None and len(str(nonce)) > 25:
            raise Refused(400, 50035, "Invalid Form Body: nonce")
        if body.get("enforce_nonce") and f"{channel.id}:{nonce}" in self.nonces:
            again = self.nonces[f"{channel.id}:{nonce}"]
            return json_answer(200, self._world.message_payload(again))
        posted = self.write(channel, body)
        if body.get("enforce_nonce"):
            self.nonces[f"{channel.id}:{nonce}"] = posted
        await self._gateway.message("MESSAGE_CREATE", posted)
        return json_answer(200, self._world.message_payload(posted))

    def write(self, channel: Channel, body: Json) -> Posted:
        """Post as the bot; refuses what Discord refuses."""
        content, files = self._content(body), body.get("_files", [])
        if not content and not files:
            raise Refused(400, 50006, "Cannot send an empty message")
        reference = body.get("message_reference") or {}
        reply_to = int(reference["message_id"]) if reference else None
        if reply_to is not None and reply_to not in self._world.messages:
            if reference.get("fail_if_not_exists", True):
                raise Refused(400, 50035, "Invalid Form Body: message_reference: Unknown message")
            reply_to = None
        facts: dict[str, Any] = {"reply_to": reply_to, "flags": int(body.get("flags") or 0)}
        if body.get("nonce") is not None:
            facts["nonce"] = str(body["nonce"])
        facts["files"] = [self._world.add_file(channel, *each) for each in files]
        facts["components"] = list(body.get("components") or ())
        facts["allowed_mentions"] = body.get("allowed_mentions")
        self._look(body, facts["flags"])
        return self._world.add_message(channel, self._world.bot, content, **facts)

    def _look(self, body: Json, flags: int, *, edited: bool = False) -> None:
        self.previews.look(surface_of(flags, edited=edited), fetched(body, flags))

    def _content(self, body: Json) -> str:
        content = str(body.get("content") or "")
        if len(content) > CONTENT_LIMIT:
            raise Refused(400, 50035, "Invalid Form Body: content: Must be 2000 or fewer in length")
        return content

    async def _get(self, request: web.Request) -> web.Response:
        return json_answer(200, self._world.message_payload(self._message(request)))

    async def _edit(self, request: web.Request) -> web.Response:
        posted, body = self._message(request), await body_of(request)
        if posted.channel.archived:
            raise Refused(400, 50083, "Thread is archived")
        if posted.author is not self._world.bot:
            raise Refused(403, 50005, "Cannot edit a message authored by another user")
        self.rewrite(posted, body)
        await self._gateway.message("MESSAGE_UPDATE", posted)
        return json_answer(200, self._world.message_payload(posted))

    def rewrite(self, posted: Posted, body: Json) -> None:
        if "content" in body:
            posted.content = self._content(body)
        if "components" in body:
            posted.components = list(body["components"] or ())
        posted.flags = int(body.get("flags") or posted.flags)
        posted.allowed_mentions = body.get("allowed_mentions")
        posted.edited_at = datetime.now(UTC).isoformat()
        posted.edits.append((time.monotonic(), posted.content))
        if posted.author is self._world.bot:
            self._look(body, posted.flags, edited=True)

    async def _delete(self, request: web.Request) -> web.Response:
        posted = self._message(request)
        del self._world.messages[posted.id]
        gone = {"id": str(posted.id), "channel_id": str(posted.channel.id)}
        await self._gateway.broadcast("MESSAGE_DELETE", gone)
        return json_answer(204, None)

    async def _type(self, request: web.Request) -> web.Response:
        self.typing.append(self._channel(request).id)
        return json_answer(204, None)

    async def _thread(self, request: web.Request) -> web.Response:
        posted, body = self._message(request), await body_of(request)
        if posted.id in self._world.channels:
            raise Refused(400, 160004, "A thread has already been created for this message")
        thread = self._world.add_channel(
            "thread",
            str(body["name"]),
            parent=posted.channel,
            owner=self._world.bot,
            channel_id=posted.id,
        )
        shown = self._world.channel_payload(thread)
        await self._gateway.broadcast("THREAD_CREATE", shown)
        return json_answer(201, shown)

    async def _react(self, request: web.Request) -> web.Response:
        self._message(request)
        return json_answer(204, None)


def _given(command: Json) -> Json:
    """Without what was left open by a null."""
    return {key: value for key, value in command.items() if value is not None}
