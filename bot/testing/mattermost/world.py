"""Users, channels and posts of one fake Mattermost server."""

from __future__ import annotations

import mimetypes
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
MAX_POST_RUNES = 16_383


@dataclass(frozen=True, slots=True)
class User:
    user_id: str
    username: str
    is_bot: bool = False
    roles: str = "system_user"

    def to_json(self) -> Json:
        return {
            "id": self.user_id,
            "username": self.username,
            "is_bot": self.is_bot,
            "roles": self.roles,
            "delete_at": 0,
        }


@dataclass(slots=True)
class Channel:
    channel_id: str
    type: Literal["O", "P", "D", "G"]
    team_id: str  # empty for direct messages
    last_post_at: int = 0

    def to_json(self) -> Json:
        return {
            "id": self.channel_id,
            "type": self.type,
            "team_id": self.team_id,
            "last_post_at": self.last_post_at,
            "delete_at": 0,
        }


@dataclass(slots=True)
class World:
    team_id: str = "team".ljust(26, "0")  # ids are 26 letters and digits
    token: str = "mattermost-twin-token"
    users: dict[str, User] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    posts: dict[str, Json] = field(default_factory=dict)
    files: dict[str, tuple[Json, bytes]] = field(default_factory=dict)
    edits: list[tuple[str, str]] = field(default_factory=list)
    shown: list[tuple[float, str, str]] = field(default_factory=list)  # monotonic, post, text
    bot: User = field(default_factory=lambda: User("bot".ljust(26, "0"), "firstline", is_bot=True))
    _clock_ms: int = 0

    def __post_init__(self) -> None:
        self.users[self.bot.user_id] = self.bot

    def add_user(self, user_id: str, *, roles: str = "system_user") -> str:
        self.users[user_id] = User(user_id, user_id, roles=roles)
        return user_id

    def add_channel(self, channel_id: str, kind: Literal["O", "P", "D", "G"] = "O") -> str:
        team = "" if kind in "DG" else self.team_id
        self.channels[channel_id] = Channel(channel_id, kind, team)
        return channel_id

    def now_ms(self) -> int:
        """Strictly growing, so that posts have one order."""
        self._clock_ms = max(int(time.time() * 1000), self._clock_ms + 1)
        return self._clock_ms

    def add_post(
        self,
        user_id: str,
        channel_id: str,
        message: str,
        *,
        root_id: str = "",
        file_ids: list[str] | None = None,
        props: Json | None = None,
        pending_post_id: str = "",
    ) -> Json:
        now, files = self.now_ms(), list(file_ids or ())
        post: Json = {
            "id": secrets.token_hex(13),
            "create_at": now,
            "update_at": now,
            "edit_at": 0,
            "delete_at": 0,
            "user_id": user_id,
            "channel_id": channel_id,
            "root_id": root_id,
            "message": message,
            "type": "",
            "props": dict(props or {}),
            "file_ids": files,
            "pending_post_id": pending_post_id,
            "metadata": {"files": [self.files[each][0] for each in files]},
        }
        if self.users[user_id].is_bot:
            post["props"]["from_bot"] = "true"
        self.posts[post["id"]] = post
        if user_id == self.bot.user_id:
            self.shown.append((time.monotonic(), post["id"], message))
        self.channels[channel_id].last_post_at = now
        if root_id:
            self.posts[root_id]["update_at"] = now
        return post

    def edit_post(self, post_id: str, message: str) -> Json:
        post = self.posts[post_id]
        post["message"], post["edit_at"] = message, self.now_ms()
        post["update_at"] = post["edit_at"]
        self.edits.append((post_id, message))
        if post["user_id"] == self.bot.user_id:
            self.shown.append((time.monotonic(), post_id, message))
        return post

    def delete_post(self, post_id: str) -> Json:
        """The post goes, and with a thread's first post all of the thread."""
        now = self.now_ms()
        for post in self.posts.values():
            if post_id in (post["id"], post["root_id"]):
                post["delete_at"] = post["update_at"] = now
        return self.posts[post_id]

    def add_file(self, channel_id: str, name: str, content: bytes) -> str:
        file_id = secrets.token_hex(13)
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        info = {"id": file_id, "name": name, "mime_type": media_type, "size": len(content)}
        self.files[file_id] = ({**info, "channel_id": channel_id}, content)
        return file_id
