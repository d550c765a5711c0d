"""What the fake workspace holds: people, channels, messages, files."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from bot.testing.slack.blocks import text_of

Json = dict[str, Any]
ChannelKind = Literal[
    "public", "private", "im", "mpim", "ext_shared", "pending_ext_shared", "org_shared"
]
# A colleague is of another workspace in the same organisation (Enterprise Grid).
UserKind = Literal["member", "guest", "single_channel_guest", "external", "colleague", "bot"]
ENTERPRISE = "E0TWIN"

TEXT_CUT = 40_000  # the platform cuts `text` here, with a warning


@dataclass(frozen=True, slots=True)
class User:
    user_id: str
    kind: UserKind
    team_id: str
    locale: str = "en-US"

    def to_json(self) -> Json:
        return {
            "id": self.user_id,
            "team_id": self.team_id,
            "name": self.user_id.lower(),
            "deleted": False,
            "is_bot": self.kind == "bot",
            "is_restricted": self.kind in ("guest", "single_channel_guest"),
            "is_ultra_restricted": self.kind == "single_channel_guest",
            "is_stranger": self.kind == "external",
        } | ({"enterprise_user": self._in_enterprise()} if self.kind == "colleague" else {})

    def _in_enterprise(self) -> Json:
        return {"id": self.user_id, "enterprise_id": ENTERPRISE, "teams": [self.team_id]}


@dataclass(frozen=True, slots=True)
class Channel:
    channel_id: str
    kind: ChannelKind
    with_bot: bool = True

    @property
    def event_type(self) -> str:
        return {"im": "im", "mpim": "mpim", "private": "group"}.get(self.kind, "channel")

    @property
    def listed_as(self) -> str:
        named = {"im": "im", "mpim": "mpim", "private": "private_channel"}
        return named.get(self.kind, "public_channel")

    def to_json(self) -> Json:
        return {
            "id": self.channel_id,
            "is_channel": self.kind != "im",
            "is_im": self.kind == "im",
            "is_mpim": self.kind == "mpim",
            "is_private": self.kind in ("private", "im", "mpim"),
            "is_shared": self.kind in ("ext_shared", "org_shared"),
            "is_org_shared": self.kind == "org_shared",
            "is_ext_shared": self.kind == "ext_shared",
            "is_pending_ext_shared": self.kind == "pending_ext_shared",
            "is_member": self.with_bot,
        }


@dataclass(frozen=True, slots=True)
class Edit:
    """What a message said from `at` (monotonic seconds) on."""

    at: float
    text: str


@dataclass(slots=True)
class Posted:
    """A message as the workspace keeps it; `sent` is everything its sender sent along."""

    ts: str
    channel: str
    user: str
    sent: Json
    thread_ts: str | None = None
    bot_id: str | None = None
    files: list[Json] = field(default_factory=list)
    only_for: str | None = None
    subtype: str | None = None
    streaming: str | None = None  # "in_progress" or "completed", of streamed messages only
    edited: Json | None = None  # who changed it last and when, as the platform tells it
    edits: list[Edit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.edits.append(Edit(time.monotonic(), shown_text(self.sent)))

    @property
    def text(self) -> str:
        """What a person sees now: the blocks, or else the text."""
        return self.edits[-1].text

    @property
    def metadata(self) -> Json | None:
        return self.sent.get("metadata")

    def edit(self, sent: Json) -> None:
        self.sent = {**self.sent, "blocks": None, **sent}
        self.edits.append(Edit(time.monotonic(), shown_text(self.sent)))

    def to_json(self, *, with_metadata: bool = False) -> Json:
        found: Json = {
            "type": "message",
            "user": self.user,
            "ts": self.ts,
            "text": "" if self.streaming == "in_progress" else self.sent.get("text", ""),
        }
        optional = {
            "streaming_state": self.streaming,
            "subtype": self.subtype,
            "thread_ts": self.thread_ts,
            "bot_id": self.bot_id,
            "edited": self.edited,
            "blocks": None if self.streaming == "in_progress" else self.sent.get("blocks"),
            "files": self.files or None,
            "metadata": self.metadata if with_metadata else None,
        }
        return found | {key: value for key, value in optional.items() if value is not None}


def shown_text(sent: Json) -> str:
    blocks = sent.get("blocks")
    if not blocks:
        text = str(sent.get("text", ""))
        return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return "\n".join(filter(None, map(text_of, blocks)))


class World:
    """The workspace's truth, without any wire."""

    team_id = "T0TWIN"
    bot_user_id = "U0BOT"
    bot_id = "B0BOT"
    app_id = "A0TWIN"

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.channels: dict[str, Channel] = {}
        self.posted: dict[tuple[str, str], Posted] = {}
        self.files: dict[str, tuple[Json, bytes]] = {}
        self.surfaces_orphans = False  # an answer to a thread that is gone lands in the channel
        self._last_us = 0
        self._numbers = itertools.count(1)
        self.add_user(self.bot_user_id, "bot")

    def add_user(self, user_id: str, kind: UserKind = "member") -> str:
        team = {"external": "T0OTHER", "colleague": "T0SISTER"}.get(kind, self.team_id)
        self.users[user_id] = User(user_id, kind, team)
        return user_id

    def add_channel(
        self, channel_id: str, kind: ChannelKind = "public", *, with_bot: bool = True
    ) -> str:
        self.channels[channel_id] = Channel(channel_id, kind, with_bot)
        return channel_id

    def new_ts(self) -> str:
        """A timestamp as the platform writes it, never twice the same."""
        self._last_us = max(self._last_us + 1, time.time_ns() // 1000)
        return f"{self._last_us // 1_000_000}.{self._last_us % 1_000_000:06d}"

    def new_id(self, prefix: str) -> str:
        return f"{prefix}{next(self._numbers):08d}"

    def add(self, message: Posted) -> Posted:
        self.posted[message.channel, message.ts] = message
        return message

    def change(self, message: Posted, sent: Json, by: str) -> None:
        message.edit(sent)
        message.edited = {"user": by, "ts": self.new_ts()}

    def top(self, channel: str) -> list[Json]:
        """What `conversations.history` shows, newest first: roots tell of their threads."""
        everything = [each for each in self.posted.values() if each.channel == channel]
        roots = [
            each
            for each in everything
            if each.thread_ts in (None, each.ts) or each.subtype == "thread_broadcast"
        ]
        return [
            {**root.to_json(with_metadata=True), **self._thread_facts(root)}
            for root in sorted(roots, key=lambda each: each.ts, reverse=True)
        ]

    def _thread_facts(self, root: Posted) -> Json:
        answers = [each for each in self.thread(root.channel, root.ts) if each is not root]
        if not answers:
            return {}
        return {
            "thread_ts": root.ts,
            "reply_count": len(answers),
            "latest_reply": max(each.ts for each in answers),
        }

    def posted_by_bot(self) -> list[Posted]:
        return [each for each in self.posted.values() if each.user == self.bot_user_id]

    def thread(self, channel: str, root: str) -> list[Posted]:
        everything = (each for each in self.posted.values() if each.channel == channel)
        return [each for each in everything if root in (each.ts, each.thread_ts)]
