"""Streamed messages: started, appended to, stopped; over five minutes after they were started.

Seen on the platform (2026-07 to 2026-10): an open stream can be neither edited nor deleted, what
it says is told to nobody but its recipient until it ends, and Slack's own stop button ends it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bot.testing.slack.blocks import BLOCKS, fault_of
from bot.testing.slack.methods import METHODS, SCOPES, Refused
from bot.testing.slack.world import TEXT_CUT, Channel, Posted

if TYPE_CHECKING:
    from bot.testing.slack import SlackTwin

Json = dict[str, Any]
LIVES_S = 300.0
TEXT_CHARS = 12_000  # in one call
TASK_CHARS = 256
_STATES = frozenset({"pending", "in_progress", "complete", "error"})
# What the platform takes for a link, and may fetch: streams have no switch for previews.
_LINK = re.compile(r"\w+://\S|\bwww\.\w|\w\.[a-z]{2}", re.IGNORECASE)


@dataclass(slots=True)
class Stream:
    """One message while it grows; `state` is the platform's word for why it takes no more."""

    message: Posted
    takes_chunks: bool
    text: str = ""
    tasks: dict[str, Json] = field(default_factory=dict)
    blocks: list[Json] = field(default_factory=list)
    appends: int = 0
    over: str = ""  # empty while it is open
    death: asyncio.TimerHandle | None = None

    def shown(self) -> list[Json]:
        cards = [{"type": "task_card", **_card(task)} for task in self.tasks.values()]
        text = [{"type": "markdown", "text": self.text}] if self.text else []
        return [*cards, *self.blocks, *text]


class Streams:
    """Every stream of the workspace, open and over; a test may shorten their life."""

    def __init__(self) -> None:
        self.lives_s = LIVES_S
        self.all: dict[tuple[str, str], Stream] = {}
        self.died: list[str] = []  # by their ts: those that nobody stopped in time
        self.links: list[str] = []  # what a preview may have been fetched for
        self.recipients: list[tuple[str, str]] = []
        self.has_assistant = False  # the older way: an app with an assistant's threads
        self.statuses: list[tuple[str, str, str]] = []  # channel, thread, each status in turn

    def open(self) -> list[Stream]:
        return [each for each in self.all.values() if not each.over]

    def stopped_by_user(self, channel: str, thread: str) -> list[str]:
        """The person's own stop button: ends every stream of the thread; returns their ts."""
        ended = []
        for stream in self.open():
            if (stream.message.channel, stream.message.thread_ts) == (channel, thread):
                self.end(stream, "stopped_by_user")
                ended.append(stream.message.ts)
        return ended

    def die(self, stream: Stream) -> None:
        self.died.append(stream.message.ts)
        self.end(stream, "message_not_in_streaming_state")

    def end(self, stream: Stream, over: str) -> None:
        stream.over, stream.message.streaming = over, "completed"
        if stream.death is not None:
            stream.death.cancel()


def start(slack: SlackTwin, args: Json) -> Json:
    channel, thread = _place(slack, args)
    _recipient(slack, channel, args)
    world = slack.world
    message = Posted(
        world.new_ts(), channel.channel_id, world.bot_user_id, {"text": ""}, thread, world.bot_id
    )
    message.streaming = "in_progress"
    stream = Stream(message, takes_chunks="markdown_text" not in args)
    _take(slack, stream, args)
    world.add(message)
    slack.streams.all[message.channel, message.ts] = stream
    loop = asyncio.get_running_loop()
    stream.death = loop.call_later(slack.streams.lives_s, slack.streams.die, stream)
    if slack.is_agent and thread:
        slack.sessions.append((message.channel, thread, "processing"))
    slack.tell(channel, message.to_json() | {"app_id": world.app_id})
    return {"channel": message.channel, "ts": message.ts}


def append(slack: SlackTwin, args: Json) -> Json:
    stream = _open_stream(slack, args)
    if not args.get("markdown_text") and not args.get("chunks"):
        raise Refused("no_text")
    _take(slack, stream, args)
    stream.appends += 1
    return {"channel": stream.message.channel, "ts": stream.message.ts}


def stop(slack: SlackTwin, args: Json) -> Json:
    stream = _open_stream(slack, args)
    if args.get("chunks") or args.get("markdown_text"):
        _take(slack, stream, args)
    message, before = stream.message, stream.message.to_json()
    if fault := fault_of(args.get("blocks") or []):
        raise Refused(fault)
    slack.streams.end(stream, "message_not_in_streaming_state")
    sent: Json = {"blocks": [*stream.shown(), *(args.get("blocks") or [])]}
    sent |= {"metadata": args["metadata"]} if args.get("metadata") else {}
    message.edit({"text": stream.text, **sent})
    if slack.is_agent and message.thread_ts:
        status = str(args.get("session_status") or "active")
        slack.sessions.append((message.channel, message.thread_ts, status))
    slack.tell_change(message.channel, message.to_json(), before)
    return {"channel": message.channel, "ts": message.ts, "message": message.to_json()}


def set_assistant_status(slack: SlackTwin, args: Json) -> Json:
    """The older way to say what is being done; an empty status takes it away."""
    channel, thread = str(args.get("channel_id")), str(args.get("thread_ts"))
    if channel not in slack.world.channels:
        raise Refused("channel_not_found")
    if not slack.streams.has_assistant or (channel, thread) not in slack.world.posted:
        raise Refused("invalid_thread_ts")
    slack.streams.statuses.append((channel, thread, str(args.get("status") or "")))
    return {}


def permalink(slack: SlackTwin, args: Json) -> Json:
    """A message's address; that of an answer names its thread."""
    channel = str(args.get("channel"))
    message = slack.world.posted.get((channel, str(args.get("message_ts"))))
    if message is None:
        raise Refused("message_not_found")
    address = f"{slack.base_url}/archives/{channel}/p{message.ts.replace('.', '')}"
    thread = f"?thread_ts={message.thread_ts}&cid={channel}" if message.thread_ts else ""
    return {"channel": channel, "permalink": address + thread}


def _place(slack: SlackTwin, args: Json) -> tuple[Channel, str | None]:
    channel = slack.world.channels.get(str(args.get("channel")))
    if channel is None:
        raise Refused("channel_not_found")
    if not channel.with_bot:
        raise Refused("not_in_channel")
    thread = args.get("thread_ts")
    if thread is None and channel.kind == "im":
        raise Refused("invalid_thread_ts")  # top-level streams are for channels only
    if thread is not None and (channel.channel_id, thread) not in slack.world.posted:
        if slack.world.surfaces_orphans:
            return channel, None
        raise Refused("thread_not_found")
    return channel, thread


def _recipient(slack: SlackTwin, channel: Channel, args: Json) -> None:
    """Needed outside of direct messages; the person, in their own workspace."""
    user, team = args.get("recipient_user_id"), args.get("recipient_team_id")
    if channel.kind != "im":
        for name, value in (("user", user), ("team", team)):
            if not value:
                raise Refused(f"missing_recipient_{name}_id")
    if user and user not in slack.world.users:
        raise Refused("user_not_found")
    if user and team and slack.world.users[user].team_id != team:
        raise Refused("team_not_found")
    slack.streams.recipients.append((str(user or ""), str(team or "")))


def _open_stream(slack: SlackTwin, args: Json) -> Stream:
    key = str(args.get("channel")), str(args.get("ts"))
    if key[0] not in slack.world.channels:
        raise Refused("channel_not_found")
    if key not in slack.world.posted:
        raise Refused("message_not_found")
    stream = slack.streams.all.get(key)
    if stream is None:
        raise Refused("message_not_in_streaming_state")
    if stream.over:
        raise Refused(stream.over)
    return stream


def _take(slack: SlackTwin, stream: Stream, args: Json) -> None:
    """Add what a call brings; all of it or nothing."""
    text, chunks = args.get("markdown_text"), args.get("chunks") or []
    if text is not None and chunks:
        raise Refused("cannot_provide_both_markdown_text_and_chunks")
    if (chunks and not stream.takes_chunks) or (text is not None and stream.takes_chunks):
        raise Refused("streaming_mode_mismatch")
    chunks = chunks or ([{"type": "markdown_text", "text": text}] if text else [])
    for chunk in chunks:
        if fault := _chunk_fault(chunk):
            raise Refused(fault)
    added = "".join(each["text"] for each in chunks if each["type"] == "markdown_text")
    blocks = [block for each in chunks if each["type"] == "blocks" for block in each["blocks"]]
    if len(stream.text) + len(added) > TEXT_CUT or len(stream.blocks) + len(blocks) > BLOCKS:
        raise Refused("msg_too_long")
    stream.text += added
    stream.blocks += blocks
    for chunk in chunks:
        if chunk["type"] == "task_update":
            known = stream.tasks.get(chunk["id"], {})
            details = known.get("details", "") + chunk.get("details", "")  # these add up
            stream.tasks[chunk["id"]] = {**known, **chunk, "details": details}
    slack.streams.links += _LINK.findall(stream.text)
    stream.message.edit({"text": stream.text, "blocks": stream.shown()})


def _chunk_fault(chunk: Json) -> str:
    match chunk.get("type"):
        case "markdown_text":
            text = chunk.get("text")
            return "" if text and len(text) <= TEXT_CHARS else "msg_too_long" if text else "no_text"
        case "task_update":
            is_whole = chunk.get("id") and chunk.get("title") and chunk.get("status") in _STATES
            is_short = len(chunk.get("title", "")) <= TASK_CHARS
            return "" if is_whole and is_short else "invalid_chunks"
        case "plan_update":
            return "" if chunk.get("title") else "invalid_chunks"
        case "blocks":
            return fault_of(chunk.get("blocks") or [])
    return "invalid_chunks"


def _card(task: Json) -> Json:
    return {"task_id": task["id"], "title": task["title"], "status": task["status"]}


def _unless_open(run: Callable[[SlackTwin, Json], Json], error: str) -> Any:
    """A method that leaves open streams alone."""

    def refusing(slack: SlackTwin, args: Json) -> Json:
        stream = slack.streams.all.get((str(args.get("channel")), str(args.get("ts"))))
        if stream is not None and not stream.over:
            raise Refused(error)
        return run(slack, args)

    return refusing


METHODS["chat.startStream"] = start
METHODS["chat.appendStream"] = append
METHODS["chat.stopStream"] = stop
METHODS["chat.getPermalink"] = permalink
METHODS["assistant.threads.setStatus"] = set_assistant_status
METHODS["chat.update"] = _unless_open(METHODS["chat.update"], "streaming_state_conflict")
METHODS["chat.delete"] = _unless_open(METHODS["chat.delete"], "cant_delete_message")
for _method in ("chat.startStream", "chat.appendStream", "chat.stopStream"):
    SCOPES[_method] = frozenset({"chat:write"})
SCOPES["assistant.threads.setStatus"] = frozenset({"assistant:write", "chat:write"})
