"""Slack's event payloads read into `Message`s."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from adapters.chat.safe_text import sound
from adapters.chat.slack_blocks import PRESSES
from adapters.chat.slack_directory import Directory
from adapters.chat.slack_text import mentions, plain
from adapters.chat.splitting import clip
from adapters.chat.types import (
    Addressing,
    Attachment,
    Author,
    ChannelRules,
    Command,
    Message,
    Press,
    Quote,
    usual,
)
from tools.identity import ConversationKey, tenant_of

_SAID = frozenset({None, "file_share", "thread_broadcast", "me_message"})
_TO_ANOTHER = re.compile(r"\s*<@[UW]")  # begins with somebody else's mention
ASKED_WITHIN_S = 15 * 60.0  # an edit of something older is no question to who did not hear it
QUOTE_CHARS = 4_000  # of one message that is quoted
FILE_BY_ID = "id:"  # a locator that must be looked up, as for Slack Connect files
FILE_OF = "|"  # ends the workspace before a locator, where the bot serves several


@dataclass(frozen=True, slots=True)
class Edited:
    """A person changed what they said; `at` is Slack's clock.

    `is_asked` says that it is a question now, which perhaps nobody heard before: the edit may
    have overtaken the message, or named the bot for the first time.
    """

    message: Message
    at: float
    is_asked: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """A message was deleted: perhaps a question, Slack does not tell."""

    tenant: str
    event_id: str


def event_id_of(channel: str, ts: str) -> str:
    """Of something that was said: Slack tells it under several ids."""
    return f"{channel}:{ts}"


class EventReader:
    """Reads events of one workspace, asking the directory who and where."""

    def __init__(
        self,
        directory: Directory,
        *,
        adapter: str,
        team_id: str,
        bot_user_id: str,
        files_of: str = "",
        rules: ChannelRules = usual,
    ) -> None:
        """`files_of` marks attachments with the workspace whose token fetches them."""
        self.adapter, self.tenant = adapter, tenant_of("slack", team_id)
        self._directory, self._bot, self._rules = directory, bot_user_id, rules
        self._files_of = f"{files_of}{FILE_OF}" if files_of else ""

    async def read(self, event: Mapping[str, Any]) -> Message | Edited | Removed | None:
        """What the event means to the bot; `app_mention` and `message` give the same message."""
        match event.get("subtype"):
            case "message_changed":
                return await self._read_change(event)
            case "message_deleted":
                return self._read_removal(event, str(event.get("deleted_ts") or ""))
        if not self._was_said_by_a_person(event):
            return None
        channel, ts = str(event["channel"]), str(event["ts"])
        addressing = await self._addressing(event, channel, ts)
        if addressing is None:
            return None
        if addressing not in ("dm", "overheard") and (thread := self._thread(event, channel, ts)):
            self._directory.joined(channel, thread)
        return await self._message(event, addressing)

    async def read_history(self, channel: str, said: Mapping[str, Any]) -> Message | None:
        """A message of `conversations.history`, as if it were told live."""
        kind = {"channel_type": "im"} if await self._directory.place(channel) == "dm" else {}
        found = await self.read({**said, "channel": channel, **kind})
        return found if isinstance(found, Message) else None

    def locale_in(self, body: Mapping[str, Any]) -> str:
        """The language of who sent a command or pressed something, as far as it is known."""
        user = (body.get("user") or {}).get("id") or body.get("user_id")
        return self._directory.locale(str(user or ""))

    async def read_presses(self, payload: Mapping[str, Any]) -> list[Press]:
        """The buttons of ours in a `block_actions` payload."""
        where = payload.get("channel") or {}
        channel = str(where.get("id") or (payload.get("container") or {}).get("channel_id") or "")
        user = str((payload.get("user") or {}).get("id") or "")
        pressed = [
            (PRESSES[action_id], str(action.get("value") or ""))
            for action in payload.get("actions") or ()
            if (action_id := action.get("action_id")) in PRESSES
        ]
        if not pressed or not channel or not user:
            return []
        author = Author(user, await self._directory.user_kind(user))
        return [
            Press(
                kind,
                event_id,
                self.adapter,
                self.tenant,
                channel,
                author,
                self._directory.locale(user),
            )
            for kind, event_id in pressed
        ]

    async def read_native_stop(self, event: Mapping[str, Any]) -> list[Press | Command]:
        """Slack's own stop button names a thread: it stops what shows our button there, and
        what is streamed to its user, as `/stop` does."""
        if event.get("type") != "agent_session_stopped":
            return []
        channel, thread = str(event.get("channel") or ""), str(event.get("thread_ts") or "")
        user = str(event.get("user") or "")
        if not (channel and thread and user):
            return []
        author = Author(user, await self._directory.user_kind(user))
        running = await self._directory.running(channel, thread)
        stops: list[Press | Command] = [
            Press("stop", event_id, self.adapter, self.tenant, channel, author)
            for event_id in running
        ]
        if event.get("streaming_message_ts"):
            key, author = await self._where_and_who(channel, thread, user)
            stops.append(Command("stop", "", self.adapter, key, author))
        return stops

    async def read_command(self, payload: Mapping[str, Any]) -> Command:
        key, author = await self._where_and_who(
            str(payload["channel_id"]), None, str(payload["user_id"])
        )
        name, text = str(payload["command"]).lstrip("/"), sound(str(payload.get("text") or ""))
        locale = self._directory.locale(author.user_id)
        return Command(name, text.strip(), self.adapter, key, author, locale)

    def question(self, command: Command, *, trigger_id: str, sent_at: float) -> Message:
        """`/ask TEXT` as the message it stands for."""
        event_id = f"{command.conversation.channel}:{trigger_id}"
        return Message(
            event_id=event_id,
            adapter=self.adapter,
            conversation=command.conversation,
            author=command.author,
            text=plain(command.argument, bot_user_id=self._bot),
            sent_at=sent_at,
            message_id=event_id,
            addressing="command",
            locale=command.locale,
        )

    async def asked_about(
        self,
        *,
        channel: str,
        thread: str,
        user: str,
        text: str,
        event_id: str,
        message_id: str,
        files: Iterable[Mapping[str, Any]] = (),
        quoted: Iterable[Mapping[str, Any]] = (),
    ) -> Message:
        """A question about what others said, to be answered in their thread."""
        key, author = await self._where_and_who(channel, thread, user)
        self._directory.joined(channel, thread)
        return Message(
            event_id=event_id,
            adapter=self.adapter,
            conversation=key,
            author=author,
            text=text,
            sent_at=time.time(),
            message_id=message_id,
            addressing="command",
            attachments=tuple(_attachment(file, self._files_of) for file in files),
            quotes=tuple(self._quote(said) for said in quoted),
            locale=self._directory.locale(user),
        )

    def _quote(self, said: Mapping[str, Any]) -> Quote:
        who = str(said.get("user") or said.get("bot_id") or "")
        text = plain(sound(str(said.get("text") or "")), bot_user_id=self._bot)
        return Quote(who, clip(text, QUOTE_CHARS), float(said["ts"]))

    async def _read_change(self, event: Mapping[str, Any]) -> Edited | Removed | None:
        """An edit by a person; links that unfold and threads that grow change no text."""
        now, before = event.get("message") or {}, event.get("previous_message") or {}
        if now.get("subtype") == "tombstone":  # what is left of a deleted root of a thread
            return self._read_removal(event, str(now.get("ts") or ""))
        said = {**now, "channel": event.get("channel")}
        edited = now.get("edited") or {}
        if not self._was_said_by_a_person(said) or not edited.get("ts"):
            return None
        if now.get("text") == before.get("text"):
            return None
        said["channel_type"] = event.get("channel_type")
        at, sent_at, addressing = float(edited["ts"]), float(said["ts"]), None
        if at - sent_at < ASKED_WITHIN_S:
            addressing = await self._addressing(said, str(said["channel"]), str(said["ts"]))
        message = await self._message(said, addressing or "followup")
        return Edited(message, at, is_asked=addressing is not None)

    def _read_removal(self, event: Mapping[str, Any], ts: str) -> Removed | None:
        channel, before = event.get("channel"), event.get("previous_message") or {}
        if not ts or not channel or before.get("bot_id") or before.get("user") == self._bot:
            return None
        return Removed(self.tenant, f"{channel}:{ts}")

    async def _message(self, said: Mapping[str, Any], addressing: Addressing) -> Message:
        channel, user, ts = str(said["channel"]), str(said["user"]), str(said["ts"])
        thread = said.get("thread_ts")
        if addressing != "dm":
            thread = self._thread(said, channel, ts)
        key, author = await self._where_and_who(channel, thread, user)
        return Message(
            event_id=event_id_of(channel, ts),
            adapter=self.adapter,
            conversation=key,
            author=author,
            text=plain(sound(str(said.get("text") or "")), bot_user_id=self._bot),
            sent_at=float(ts),
            message_id=f"{channel}:{ts}",
            addressing=addressing,
            attachments=tuple(
                _attachment(file, self._files_of) for file in said.get("files") or ()
            ),
            locale=self._directory.locale(user),
        )

    def _thread(self, said: Mapping[str, Any], channel: str, ts: str) -> str | None:
        """A question begins a thread, unless its channel is answered outside of threads."""
        begun = ts if self._rules(channel).reply_in != "channel" else None
        return said.get("thread_ts") or begun

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
        if _TO_ANOTHER.match(str(event.get("text") or "")):
            return None
        if thread is None or thread == ts:
            return "overheard" if self._rules(channel).overhears else None
        if not self._rules(channel).follow_ups:
            return None
        part = await self._directory.takes_part(channel, str(thread), before=ts)
        return "followup" if part else None

    async def _where_and_who(
        self, channel: str, thread: str | None, user: str
    ) -> tuple[ConversationKey, Author]:
        place, kind = await asyncio.gather(
            self._directory.place(channel), self._directory.user_kind(user)
        )
        return ConversationKey(self.tenant, place, channel, thread), Author(user, kind)


def _attachment(file: Mapping[str, Any], of: str) -> Attachment:
    file_id = str(file.get("id", ""))
    url = str(file.get("url_private_download") or file.get("url_private") or "")
    return Attachment(
        attachment_id=file_id,
        name=sound(str(file.get("name") or "file")),
        media_type=sound(str(file.get("mimetype") or "application/octet-stream")),
        size_bytes=int(file.get("size") or 0),
        locator=of + (sound(url) or FILE_BY_ID + file_id),
    )
