"""The fake's world: users, channels and messages, and their JSON. Absent fields are omitted."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from bot.testing.discord.cdn import Cdn
from bot.testing.discord.usual import CHANNEL, COLORS, FORUM, GUILD

Json = dict[str, Any]
ChannelKind = Literal["text", "private", "forum", "thread", "dm"]

EPOCH_MS = 1_420_070_400_000
VIEW_CHANNEL = 1 << 10
EVERYTHING = str(((1 << 46) - 1) & ~(1 << 3))  # all but Administrator
TYPES: dict[ChannelKind, int] = {"text": 0, "private": 0, "forum": 15, "thread": 11, "dm": 1}


@dataclass(eq=False)
class User:
    id: int
    name: str
    bot: bool = False
    webhook: bool = False

    def payload(self) -> Json:
        shown: Json = {
            "id": str(self.id),
            "username": self.name,
            "discriminator": "0000" if self.webhook else "0",
            "avatar": None,
            "global_name": self.name,
        }
        if self.bot:
            shown["bot"] = True
        return shown

    @property
    def mention(self) -> str:
        return f"<@{self.id}>"


@dataclass(eq=False)
class Channel:
    id: int
    kind: ChannelKind
    name: str = ""
    parent: Channel | None = None
    owner: User | None = None
    archived: bool = False
    locked: bool = False


@dataclass(eq=False)
class Posted:
    """One message as it stands, with the history of its edits as (monotonic time, text)."""

    id: int
    channel: Channel
    author: User
    content: str
    files: list[Json] = field(default_factory=list)
    reply_to: int | None = None
    mentions: list[User] = field(default_factory=list)
    flags: int = 0
    nonce: str | None = None
    allowed_mentions: Json | None = None
    components: list[Json] = field(default_factory=list)
    edits: list[tuple[float, str]] = field(default_factory=list)
    edited_at: str | None = None
    posted_at: float = field(default_factory=time.monotonic)
    first_content: str = field(init=False)

    def __post_init__(self) -> None:
        self.first_content = self.content

    @property
    def texts(self) -> list[tuple[float, str]]:
        """All that it said, its first text too, as (monotonic time, text)."""
        return [(self.posted_at, self.first_content), *self.edits]

    @property
    def ephemeral(self) -> bool:
        return bool(self.flags & 64)

    @property
    def buttons(self) -> list[str]:
        """The custom ids of its buttons."""
        rows = (row.get("components", ()) for row in self.components)
        return [each["custom_id"] for row in rows for each in row]


class World:
    """Everything the fake knows, and how it looks on the wire."""

    def __init__(self) -> None:
        self._last_id = 0
        self.bot = User(self.new_id(), "firstline", bot=True)
        self.application_id = self.new_id()
        self.guild_id = self.new_id()
        self.users: dict[int, User] = {self.bot.id: self.bot}
        self.channels: dict[int, Channel] = {}
        self.messages: dict[int, Posted] = {}
        self.cdn = Cdn()
        self.files = self.cdn.files  # by path
        self.commands: list[Json] = []
        self.base_url = ""

    def new_id(self) -> int:
        stamp = (int(time.time() * 1000) - EPOCH_MS) << 22
        self._last_id = max(stamp, self._last_id + 1)
        return self._last_id

    def add_user(self, name: str, *, bot: bool = False, webhook: bool = False) -> User:
        user = User(self.new_id(), name, bot or webhook, webhook)
        self.users[user.id] = user
        return user

    def add_channel(
        self,
        kind: ChannelKind,
        name: str = "",
        *,
        parent: Channel | None = None,
        owner: User | None = None,
        channel_id: int | None = None,
    ) -> Channel:
        channel = Channel(channel_id or self.new_id(), kind, name, parent, owner)
        self.channels[channel.id] = channel
        return channel

    def add_message(self, channel: Channel, author: User, content: str, **facts: Any) -> Posted:
        posted = Posted(
            facts.pop("message_id", None) or self.new_id(), channel, author, content, **facts
        )
        posted.mentions += [
            self.users[int(user_id)]
            for user_id in re.findall(r"<@!?(\d+)>", content)
            if int(user_id) in self.users
        ]
        self.messages[posted.id] = posted
        return posted

    def add_file(self, channel: Channel, name: str, content: bytes) -> Json:
        attachment_id = self.new_id()
        plain = name.encode(errors="replace").decode()  # half a character is no address
        path = f"/attachments/{channel.id}/{attachment_id}/{plain}"
        self.files[path] = content
        kind = {"png": "image/png", "jpg": "image/jpeg", "txt": "text/plain"}
        shown = {
            "id": str(attachment_id),
            "filename": name,
            "size": len(content),
            "url": self.cdn.address(path),
            "proxy_url": self.cdn.address(path),
        }
        media_type = kind.get(name.rpartition(".")[2])
        return {**shown, "content_type": media_type} if media_type else shown

    def in_channel(self, channel: Channel) -> list[Posted]:
        return [posted for posted in self.messages.values() if posted.channel is channel]

    def message_payload(self, posted: Posted, *, event: bool = False, deep: bool = True) -> Json:
        shown: Json = {
            "id": str(posted.id),
            "channel_id": str(posted.channel.id),
            "author": posted.author.payload(),
            "content": posted.content,
            "timestamp": _iso(posted.id),
            "edited_timestamp": posted.edited_at,
            "tts": False,
            "mention_everyone": False,
            "mentions": [user.payload() for user in posted.mentions],
            "mention_roles": [],
            "attachments": [self.cdn.told(each) for each in posted.files],
            "embeds": [],
            "components": posted.components,
            "pinned": False,
            "flags": posted.flags,
            "type": 19 if posted.reply_to else 0,
        }
        if posted.author.webhook:
            shown["webhook_id"] = str(posted.author.id)
        if posted.nonce is not None:
            shown["nonce"] = posted.nonce
        if posted.reply_to is not None:
            shown |= self._reference(posted, posted.reply_to, deep=deep)
        if event and posted.channel.kind != "dm":
            shown["guild_id"] = str(self.guild_id)
            if not posted.author.webhook:
                shown["member"] = self.member_payload()
        return shown

    def _reference(self, posted: Posted, reply_to: int, *, deep: bool) -> Json:
        reference: Json = {"channel_id": str(posted.channel.id), "message_id": str(reply_to)}
        if posted.channel.kind != "dm":
            reference["guild_id"] = str(self.guild_id)
        shown: Json = {"message_reference": reference}
        if deep:
            target = self.messages.get(reply_to)
            shown["referenced_message"] = target and self.message_payload(target, deep=False)
        return shown

    def member_payload(self, user: User | None = None) -> Json:
        shown: Json = {
            "roles": [],
            "joined_at": "2026-01-01T00:00:00+00:00",
            "deaf": False,
            "mute": False,
            "flags": 0,
            "permissions": EVERYTHING,
        }
        return {**shown, "user": user.payload()} if user else shown

    def channel_payload(self, channel: Channel) -> Json:
        shown: Json = {"id": str(channel.id), "type": TYPES[channel.kind]}
        if channel.kind == "dm":
            others = [channel.owner.payload()] if channel.owner else []
            return {**shown, "recipients": others}
        shown |= {"guild_id": str(self.guild_id), "name": channel.name, "flags": 0}
        if channel.kind == "thread":
            assert channel.parent is not None
            assert channel.owner is not None
            if any(posted.author is self.bot for posted in self.in_channel(channel)):
                shown["member"] = {
                    "id": str(channel.id),
                    "user_id": str(self.bot.id),
                    "join_timestamp": _iso(channel.id),
                    "flags": 0,
                }
            return shown | {
                "parent_id": str(channel.parent.id),
                "owner_id": str(channel.owner.id),
                "message_count": len(self.in_channel(channel)),
                "total_message_sent": len(self.in_channel(channel)),
                "nsfw": False,
                "member_count": 2,
                "rate_limit_per_user": 0,
                "thread_metadata": {
                    "archived": channel.archived,
                    "auto_archive_duration": 1440,
                    "archive_timestamp": _iso(channel.id),
                    "locked": channel.locked,
                },
            }
        denied = str(VIEW_CHANNEL if channel.kind == "private" else 0)
        everyone = {"id": str(self.guild_id), "type": 0, "allow": "0", "deny": denied}
        more = FORUM if channel.kind == "forum" else {}
        return shown | CHANNEL | more | {"permission_overwrites": [everyone]}

    def guild_payload(self) -> Json:
        channels = [c for c in self.channels.values() if c.kind in ("text", "private", "forum")]
        threads = [c for c in self.channels.values() if c.kind == "thread"]
        everyone = {
            "id": str(self.guild_id),
            "name": "@everyone",
            "color": 0,
            "colors": COLORS,
            "hoist": False,
            "position": 0,
            "permissions": EVERYTHING,
            "managed": False,
            "mentionable": False,
            "flags": 0,
        }
        return {
            **GUILD,
            "id": str(self.guild_id),
            "name": "Guild",
            "owner_id": str(next(iter(self.users))),
            "roles": [everyone],
            "member_count": len(self.users),
            "channels": [self.channel_payload(channel) for channel in channels],
            "threads": [self.channel_payload(thread) for thread in threads],
            "members": [self.member_payload(self.bot)],
        }


def _iso(snowflake: int) -> str:
    return datetime.fromtimestamp(((snowflake >> 22) + EPOCH_MS) / 1000, UTC).isoformat()
