"""Slack's event payloads read into `Message`s."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from adapters.chat.safe_text import sound
from adapters.chat.slack_directory import Directory
from adapters.chat.slack_text import mentions, plain
from adapters.chat.types import Addressing, Attachment, Author, Command, Message
from tools.identity import ConversationKey, tenant_of

_SAID = frozenset({None, "file_share", "thread_broadcast", "me_message"})
_TO_ANOTHER = re.compile(r"\s*<@[UW]")  # begins with somebody else's mention
FILE_BY_ID = "id:"  # a locator that must be looked up, as for Slack Connect files


class EventReader:
    """Reads events of one workspace, asking the directory who and where."""

    def __init__(
        self, directory: Directory, *, adapter: str, team_id: str, bot_user_id: str
    ) -> None:
        self._directory, self._adapter, self._bot = directory, adapter, bot_user_id
        self._tenant = tenant_of("slack", team_id)

    async def read(self, event: Mapping[str, Any]) -> Message | None:
        """The message when it is for the bot; `app_mention` and `message` give the same one."""
        if not self._was_said_by_a_person(event):
            return None
        channel, user, ts = str(event["channel"]), str(event["user"]), str(event["ts"])
        thread = event.get("thread_ts")
        addressing = await self._addressing(event, channel, ts)
        if addressing is None:
            return None
        if addressing != "dm":
            thread = thread or ts
            self._directory.joined(channel, thread)
        key, author = await self._where_and_who(channel, thread, user)
        return Message(
            event_id=f"{channel}:{ts}",
            adapter=self._adapter,
            conversation=key,
            author=author,
            text=plain(sound(str(event.get("text") or "")), bot_user_id=self._bot),
            sent_at=float(ts),
            message_id=f"{channel}:{ts}",
            addressing=addressing,
            attachments=tuple(_attachment(file) for file in event.get("files") or ()),
        )

    async def read_command(self, payload: Mapping[str, Any]) -> Command:
        key, author = await self._where_and_who(
            str(payload["channel_id"]), None, str(payload["user_id"])
        )
        name, text = str(payload["command"]).lstrip("/"), sound(str(payload.get("text") or ""))
        return Command(name, text.strip(), self._adapter, key, author)

    def question(self, command: Command, *, trigger_id: str, sent_at: float) -> Message:
        """`/ask TEXT` as the message it stands for."""
        event_id = f"{command.conversation.channel}:{trigger_id}"
        return Message(
            event_id=event_id,
            adapter=self._adapter,
            conversation=command.conversation,
            author=command.author,
            text=plain(command.argument, bot_user_id=self._bot),
            sent_at=sent_at,
            message_id=event_id,
            addressing="command",
        )

    def _was_said_by_a_person(self, event: Mapping[str, Any]) -> bool:
        if event.get("type") not in ("app_mention", "message") or event.get("hidden"):
            return False
        if event.get("bot_id") or event.get("user") in (None, self._bot, "USLACKBOT"):
            return False
        return event.get("subtype") in _SAID and bool(event.get("channel") and event.get("ts"))

    async def _addressing(
        self, event: Mapping[str, Any], channel: str, ts: str
    ) -> Addressing | None:
        if event.get("channel_type") == "im":
            return "dm"
        if event["type"] == "app_mention" or mentions(str(event.get("text") or ""), self._bot):
            return "mention"
        thread = event.get("thread_ts")
        if thread is None or thread == ts or _TO_ANOTHER.match(str(event.get("text") or "")):
            return None
        part = await self._directory.takes_part(channel, str(thread), before=ts)
        return "followup" if part else None

    async def _where_and_who(
        self, channel: str, thread: str | None, user: str
    ) -> tuple[ConversationKey, Author]:
        place, kind = await asyncio.gather(
            self._directory.place(channel), self._directory.user_kind(user)
        )
        return ConversationKey(self._tenant, place, channel, thread), Author(user, kind)


def _attachment(file: Mapping[str, Any]) -> Attachment:
    file_id = str(file.get("id", ""))
    url = str(file.get("url_private_download") or file.get("url_private") or "")
    return Attachment(
        attachment_id=file_id,
        name=sound(str(file.get("name") or "file")),
        media_type=sound(str(file.get("mimetype") or "application/octet-stream")),
        size_bytes=int(file.get("size") or 0),
        locator=sound(url) or FILE_BY_ID + file_id,
    )
