"""Mattermost's posts as messages: who speaks, where, and whether the bot is asked."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.chat.mattermost_api import MattermostApi, MattermostError
from adapters.chat.mattermost_reply import is_ours
from adapters.chat.pacing import Urgency
from adapters.chat.safe_text import sound
from adapters.chat.types import Addressing, Attachment, Author, ChannelRules, Message
from tools.identity import ConversationKey, PlaceKind, PrincipalKind, tenant_of

_PLACES: Mapping[str, PlaceKind] = {"D": "dm", "G": "private", "P": "private", "O": "public"}
_KNOWN_FOR_S = 600.0
_MOST_KNOWN = 5_000


@dataclass(frozen=True, slots=True)
class Known:
    """Who the bot is; `teams` are those it belongs to, the oldest first."""

    bot_id: str
    username: str
    teams: tuple[str, ...]

    @property
    def tenants(self) -> tuple[str, ...]:
        return tuple(tenant_of("mattermost", team) for team in self.teams or ("",))

    @property
    def home(self) -> str:
        """The team of direct messages."""
        return self.teams[0] if self.teams else ""


class Reader:
    """Reads posts; what it must ask the server for is remembered for ten minutes."""

    def __init__(
        self, api: MattermostApi, known: Known, *, adapter: str, rules: ChannelRules
    ) -> None:
        self.adapter = adapter
        self._api, self._known, self._rules = api, known, rules
        self._asked = OrderedDict[str, tuple[float, Any]]()
        name = re.escape(known.username)
        self._mention = re.compile(rf"(?<![\w@])@{name}(?![\w-]|\.\w)[,:]?[ \t]*", re.IGNORECASE)

    async def read(self, post: Mapping[str, Any]) -> Message | None:
        """The post as a message to the bot; None for any other. Raises `MattermostError`."""
        props = post.get("props") or {}
        by_program = props.get("from_bot") == "true" or props.get("from_webhook") == "true"
        if post["user_id"] == self._known.bot_id or post.get("type") or by_program:
            return None
        channel = await self._get(f"channels/{post['channel_id']}")
        addressing = await self._addressing(post, channel)
        if addressing is None:
            return None
        text = sound(self._mention.sub("", str(post.get("message", ""))).strip())
        files = (post.get("metadata") or {}).get("files") or ()
        return Message(
            event_id=str(post["id"]),
            adapter=self.adapter,
            conversation=self._conversation(post, channel),
            author=Author(str(post["user_id"]), await self._kind(str(post["user_id"]))),
            text=text,
            sent_at=float(post["create_at"]) / 1000,
            message_id=str(post["id"]),
            addressing=addressing,
            attachments=tuple(_attachment(each) for each in files),
        )

    def tenant(self, channel: Mapping[str, Any]) -> str:
        return tenant_of("mattermost", str(channel.get("team_id") or self._known.home))

    async def tenant_of(self, channel_id: str) -> str:
        return self.tenant(await self._get(f"channels/{channel_id}"))

    def _conversation(self, post: Mapping[str, Any], channel: Mapping[str, Any]) -> ConversationKey:
        place, root = _PLACES.get(str(channel["type"]), "private"), str(post.get("root_id") or "")
        rule = self._rules(str(channel["id"]))
        if not root and place != "dm" and rule.reply_in != "channel":
            root = str(post["id"])
        return ConversationKey(self.tenant(channel), place, str(channel["id"]), root or None)

    async def _addressing(
        self, post: Mapping[str, Any], channel: Mapping[str, Any]
    ) -> Addressing | None:
        if channel["type"] == "D":
            return "dm"
        if self._mention.search(str(post.get("message", ""))):
            return "mention"
        root, rule = str(post.get("root_id") or ""), self._rules(str(channel["id"]))
        if root and rule.follow_ups and await self._is_our_thread(root):
            return "followup"
        return "overheard" if not root and rule.overhears else None

    async def _is_our_thread(self, root: str) -> bool:
        """Whether the bot has answered there; a thread it came into stays its own."""
        if self._remembered(f"ours/{root}"):
            return True
        found = await self._api.call("GET", f"posts/{root}/thread", urgency=Urgency.FIRST)
        ours = any(is_ours(each, self._known.bot_id) for each in found["posts"].values())
        return bool(self._remember(f"ours/{root}", ours))

    async def _kind(self, user_id: str) -> PrincipalKind:
        try:
            user = await self._get(f"users/{user_id}")
        except MattermostError as error:
            if error.status != 404:
                raise
            return "external"
        if user.get("is_bot"):
            return "bot"
        return "guest" if "system_guest" in str(user.get("roles", "")).split() else "member"

    async def _get(self, path: str) -> Mapping[str, Any]:
        known: Mapping[str, Any] | None = self._remembered(path)
        if known is None:
            known = await self._api.call("GET", path, urgency=Urgency.FIRST)
            self._remember(path, known)
        return known or {}

    def _remembered(self, path: str) -> Any:
        at, value = self._asked.get(path, (0.0, None))
        return value if time.monotonic() - at < _KNOWN_FOR_S else None

    def _remember(self, path: str, value: Any) -> Any:
        self._asked[path] = time.monotonic(), value
        while len(self._asked) > _MOST_KNOWN:
            self._asked.popitem(last=False)
        return value


def _attachment(file: Mapping[str, Any]) -> Attachment:
    media_type = str(file.get("mime_type") or "application/octet-stream")
    name, file_id = sound(str(file.get("name") or "file"))[:200], str(file["id"])
    return Attachment(file_id, name, media_type, int(file.get("size") or 0), file_id)
