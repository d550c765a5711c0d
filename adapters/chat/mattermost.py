"""Mattermost: events over its WebSocket, answers over REST, each message once.

The socket acknowledges nothing, so what it missed is read from the channels after every
connection, and the inbox knows what it has already. A direct message belongs to the first team
the bot joined.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import aiohttp
import structlog

from adapters.chat.mattermost_api import MattermostApi, MattermostError
from adapters.chat.mattermost_posts import Known, Reader
from adapters.chat.mattermost_reply import PART_CHARS, MattermostReply, delete
from adapters.chat.pacing import Pool, Urgency
from adapters.chat.types import (
    AdapterError,
    Attachment,
    ChannelRules,
    DeliveryError,
    Inbox,
    Limits,
    MayShow,
    Message,
    NotAccepted,
    Receipt,
    always,
    usual,
)
from tools.identity import ConversationKey

log = structlog.get_logger(__name__)

T = TypeVar("T")

EDITS = 4  # a second, of all replies together; a server allows 10 calls by default
MAX_AGE_S = 15 * 60.0
_MARGIN_S = 60.0
_HELLO_WITHIN_S = 10.0
_AT_ONCE = 200  # events in work; more wait in the socket
_NOT_TAKEN = "I can't take this right now. Please ask again in a minute."


class MattermostAdapter:
    """Implements `ChatAdapter` for one server."""

    def __init__(
        self,
        *,
        url: str,
        token: str,
        name: str = "mattermost",
        calls_per_s: int = 10,
        retry_for_s: float = 30.0,
        reconnect_s: float = 1.0,
        rules: ChannelRules = usual,
    ) -> None:
        self._name, self._rules = name, rules
        self._token, self._retry_for_s, self._reconnect_s = token, retry_for_s, reconnect_s
        self._api = MattermostApi(url=url, token=token, calls_per_s=calls_per_s)
        self._edits = Pool(calls=EDITS + 1, window_s=1.0, reserve=1)
        self._limits = Limits(PART_CHARS, edits_per_window=EDITS, window_s=1.0)
        self._known: Known | None = None
        self._connected = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def connected(self) -> bool:
        return self._connected

    async def run(self, inbox: Inbox) -> None:
        async with self._api:
            known = await self._meet()
            reader = Reader(self._api, known, adapter=self._name, rules=self._rules)
            line = _Line(self._api, reader, inbox, retry_for_s=self._retry_for_s)
            marks = await _marks(inbox, known)
            while True:
                try:
                    async with asyncio.TaskGroup() as group:
                        await self._listen(line, group, marks)
                except* (aiohttp.ClientError, TimeoutError, OSError, MattermostError) as lost:
                    log.warning("mattermost.cut", error=type(lost.exceptions[0]).__name__)
                finally:
                    self._connected = False
                if line.has_filled:  # until then they must stay as they were at the start
                    marks = await _marks(inbox, known)
                await asyncio.sleep(self._reconnect_s)

    async def answer_only(self) -> None:
        async with self._api:
            await self._meet()
            await asyncio.get_running_loop().create_future()

    async def _meet(self) -> Known:
        """Learn who the bot is; a wrong token is for an operator, anything else is tried on."""
        while True:
            try:
                me = await self._api.call("GET", "users/me")
                teams = await self._api.call("GET", "users/me/teams")
                break
            except MattermostError as error:
                if error.status in (401, 403):
                    detail = "the token is refused: set mattermost.token to a bot account's token"
                    raise AdapterError(f"{self._name}: {detail}") from error
                log.warning("mattermost.unreachable", error=str(error))
                await asyncio.sleep(self._reconnect_s)
        teams.sort(key=lambda team: (team.get("create_at", 0), team["id"]))
        self._known = Known(me["id"], me["username"], tuple(str(team["id"]) for team in teams))
        return self._known

    async def _listen(
        self, line: _Line, group: asyncio.TaskGroup, marks: Mapping[str, Mapping[str, float]]
    ) -> None:
        """One connection, until it is cut."""
        socket = await self._api.socket()
        async with socket:
            challenge = {"token": self._token}
            await socket.send_json(
                {"seq": 1, "action": "authentication_challenge", "data": challenge}
            )
            async with asyncio.timeout(_HELLO_WITHIN_S):
                await _hello(socket)
            self._connected = True
            filling = group.create_task(line.fill(marks, line.gap()), name="mattermost backfill")
            async for packet in socket:
                if packet.type is not aiohttp.WSMsgType.TEXT:
                    continue
                line.alive_at = time.time()
                await line.take(json.loads(packet.data), group)
            filling.cancel()
        raise aiohttp.ClientConnectionError("the event socket was closed")

    def reply(self, message: Message, *, may_show: MayShow = always) -> MattermostReply:
        return MattermostReply(self._api, self._edits, message, who=self._who, may_show=may_show)

    def _who(self) -> str:
        if self._known is None:
            raise DeliveryError(self._name, "not connected yet", retryable=True)
        return self._known.bot_id

    async def remove(self, conversation: ConversationKey, message_ids: Sequence[str]) -> None:
        for message_id in message_ids:
            await delete(self._api, message_id)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        return await self._api.fetch(attachment, max_bytes=max_bytes)


class _Line:
    """What comes in, live or read later: each channel's events one after the other."""

    def __init__(
        self, api: MattermostApi, reader: Reader, inbox: Inbox, *, retry_for_s: float
    ) -> None:
        self._api, self._reader, self._inbox = api, reader, inbox
        self._retry_for_s = retry_for_s
        self._order: dict[str, asyncio.Lock] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        self.alive_at = 0.0  # when the socket was last heard
        self.has_filled = False

    async def take(self, event: Mapping[str, Any], group: asyncio.TaskGroup) -> None:
        kind, told = str(event.get("event")), event.get("data") or {}
        if kind in ("posted", "post_edited", "post_deleted") and "post" in told:
            await self._room.acquire()
            work = group.create_task(self._live(kind, json.loads(told["post"])), name=kind)
            work.add_done_callback(lambda _: self._room.release())

    async def _live(self, kind: str, post: dict[str, Any]) -> None:
        lock = self._order.setdefault(str(post["channel_id"]), asyncio.Lock())
        async with lock:
            try:
                await self._offer(kind, post)
            except MattermostError as error:
                log.warning("mattermost.event_unread", error=str(error))
            except NotAccepted:
                log.error("mattermost.event_lost", post=post["id"], reason="store away")
                if kind == "posted":
                    await self._tell(post)

    async def _offer(self, kind: str, post: dict[str, Any]) -> None:
        if kind == "post_deleted":
            tenant = await self._reader.tenant_of(str(post["channel_id"]))
            retract = partial(self._inbox.retract, self._reader.adapter, tenant, str(post["id"]))
            await self._until_stored(retract)
        elif message := await self._reader.read(post):
            edited = kind == "post_edited"
            receipt = Receipt.DUPLICATE
            if not edited or message.addressing == "mention":
                receipt = await self._until_stored(partial(self._inbox.accept, message))
            if edited and receipt is Receipt.DUPLICATE:
                edited_at = float(post.get("edit_at") or post["update_at"]) / 1000
                await self._until_stored(partial(self._inbox.revise, message, edited_at=edited_at))

    async def _until_stored(self, store: Callable[[], Awaitable[T]]) -> T:
        """Nothing is sent again by itself, so try for a while; `NotAccepted` in the end."""
        wait_s, give_up_at = 0.1, time.monotonic() + self._retry_for_s
        while True:
            try:
                return await store()
            except NotAccepted:
                if time.monotonic() + wait_s > give_up_at:
                    raise
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 5.0)

    async def _tell(self, post: Mapping[str, Any]) -> None:
        """The person alone can send it again."""
        try:
            if await self._reader.read(dict(post)) is None:
                return
            root = str(post.get("root_id") or post["id"])
            body = {"channel_id": post["channel_id"], "root_id": root, "message": _NOT_TAKEN}
            await self._api.call("POST", "posts", json=body | {"pending_post_id": f"told:{root}"})
        except MattermostError as error:
            log.warning("mattermost.loss_untold", error=str(error))

    def gap(self) -> float:
        """A new connection is up: since when something may have been missed."""
        now, seen = time.time(), self.alive_at
        self.alive_at = now
        return max(now - MAX_AGE_S, seen - _MARGIN_S if self.has_filled else 0.0)

    async def fill(self, marks: Mapping[str, Mapping[str, float]], oldest: float) -> None:
        """Read what was said while nobody listened; a tenant never heard replays nothing."""
        channels = await self._api.call("GET", "users/me/channels", urgency=Urgency.EDIT)
        for channel in channels:
            known = marks.get(self._reader.tenant(channel), {})
            if not known:
                continue
            mark = known.get(str(channel["id"]), known.get("", 0.0))
            since = oldest if self.has_filled else max(mark, oldest)
            if float(channel.get("last_post_at", 0)) / 1000 >= since:
                await self._read(str(channel["id"]), since)
        self.has_filled = True

    async def _read(self, channel: str, since: float) -> None:
        path, query = f"channels/{channel}/posts", {"since": int(since * 1000)}
        found = await self._api.call("GET", path, params=query, urgency=Urgency.EDIT)
        posts = sorted(found["posts"].values(), key=lambda post: post["create_at"])
        for post in posts:
            if post.get("delete_at"):
                await self._live("post_deleted", post)
            elif post["create_at"] / 1000 > since:
                await self._live("posted", post)
            elif post.get("edit_at", 0) / 1000 > since:  # a reply to it counts as an update too
                await self._live("post_edited", post)


async def _hello(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Wait until the server has let us in."""
    async for packet in socket:
        if packet.type is aiohttp.WSMsgType.TEXT and packet.json().get("event") == "hello":
            return
    raise aiohttp.ClientConnectionError("the event socket was closed before its hello")


async def _marks(inbox: Inbox, known: Known) -> dict[str, Mapping[str, float]]:
    """Until when each team was heard, as it was before this connection."""
    while True:
        try:
            return {tenant: await inbox.marks(tenant) for tenant in known.tenants}
        except NotAccepted:
            log.warning("mattermost.no_marks")
            await asyncio.sleep(1.0)
