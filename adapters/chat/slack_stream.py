"""Slack's native streams: a message that is started, appended to and stopped.

What was appended can't be taken back, so only text goes out that can no longer change its
meaning. What a stream can't take ends it, and the same message goes on by edits: a text that
began anew, a link (streams have no switch for previews), an append that may have arrived or
not, and four minutes, for Slack ends every stream after five.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Literal

import structlog

from adapters.chat.markdown_stream import StableText, TextChanged
from adapters.chat.ours import only_while
from adapters.chat.pacing import Urgency
from adapters.chat.sentences import say
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.slack_blocks import PART_CHARS, mark
from adapters.chat.slack_pacing import Pools, call_when_free, delete, stop_stream
from adapters.chat.slack_text import doing, unpinged
from adapters.chat.types import Draft, MayShow, Message
from tools.identity import tenant_of

log = structlog.get_logger(__name__)

LIVES_S = 240.0
_TITLE_CHARS = 256
_STATES = {"running": "in_progress", "done": "complete", "failed": "error"}
_THINKING = "thinking"
# What Slack may take for a link; `e.g` and `x.split` too: better a few too many.
_LINK = re.compile(r"\w+://\S|\bwww\.\w|\w\.[a-z]{2}", re.IGNORECASE)
_LINK_CHARS = 32  # of what went out, a link may begin in these
_NOT_HERE = frozenset({"unknown_method", "method_deprecated", "missing_scope", "not_allowed"})


class StreamEnded(Exception):
    """The stream takes no more; the message can be edited."""


class Streams:
    """Begins streams in one workspace, for as long as Slack lets the app."""

    def __init__(
        self, api: SlackApi, pools: Pools, *, enabled: bool, lives_s: float = LIVES_S
    ) -> None:
        self._api, self._pools, self._lives_s = api, pools, lives_s
        self._enabled = enabled

    def fits(self, message: Message) -> bool:
        """Slack streams into threads only, to one person of a workspace it can tell."""
        is_told = message.author.kind != "external"
        return self._enabled and is_told and message.conversation.thread is not None

    async def bot_user(self) -> str:
        """Who streams here; nobody where nothing is streamed. Raises `SlackCallError`."""
        if self._enabled and not self._api.bot_user_id:
            await self._api.call("auth.test")
        return self._api.bot_user_id if self._enabled else ""

    async def start(self, message: Message, *, may_show: MayShow) -> Stream | None:
        """None where the reply has to be edited; raises `SlackCallError` when in doubt."""
        key, author = message.conversation, message.author
        if not self._pools.slots.take():
            return None
        thinking = _task(_THINKING, say(message.locale, "Thinking…"), "in_progress")
        args: dict[str, Any] = {"channel": key.channel, "thread_ts": key.thread}
        args["chunks"] = [thinking]
        args["recipient_user_id"] = author.user_id
        args["recipient_team_id"] = key.tenant.removeprefix(tenant_of("slack", ""))
        answer: Mapping[str, Any] | None = None
        try:
            with only_while(may_show, "slack"):
                answer = await self._api.call("chat.startStream", quiet=True, **args)
        except SlackCallError as error:
            if error.doubtful:
                raise
            self._refused(error)
            return None
        finally:
            if answer is None:
                self._pools.slots.give_back()
        stream = Stream(
            self._api,
            self._pools,
            key.channel,
            str(answer["ts"]),
            thinking,
            may_show=may_show,
            lives_s=self._lives_s,
        )
        return stream if await self._is_in(stream, str(key.thread)) else None

    def _refused(self, error: SlackCallError) -> None:
        log.info("slack.not_streamed", error=str(error))
        if error.retry_after_s is not None:
            self._pools.slots.pause(error.retry_after_s)
        elif error.error in _NOT_HERE:
            self._enabled = False

    async def _is_in(self, stream: Stream, thread: str) -> bool:
        """What began in the open channel, for its thread is gone, is taken away (row D8).

        Only the address of the message tells; where it can't be had, the stream goes too.
        """
        args = {"channel": stream.channel, "message_ts": stream.ts}
        pool = self._pools.reads("chat.getPermalink")
        address, is_in = "", False
        try:
            answer = await call_when_free(
                self._api,
                "chat.getPermalink",
                args,
                pool,
                Urgency.FIRST,
                may_show=stream.may_show,
            )
            address = str(answer.get("permalink") or "")
            is_in = f"thread_ts={thread}" in address
        except SlackCallError as error:
            log.info("slack.not_streamed", error=str(error))
        finally:
            if not is_in:
                stream.give_up()
        if is_in:
            return True
        await delete(self._api, self._pools, f"{stream.channel}:{stream.ts}")
        if address:
            raise SlackCallError("slack", "chat.startStream", "thread_not_found", retryable=False)
        return False


class Stream:
    """One message that grows. `ts` names it; it is open until it was ended or refused."""

    def __init__(
        self,
        api: SlackApi,
        pools: Pools,
        channel: str,
        ts: str,
        thinking: Mapping[str, str],
        *,
        may_show: MayShow,
        lives_s: float,
    ) -> None:
        self._api, self._pools, self.may_show = api, pools, may_show
        self.channel, self.ts = channel, ts
        self.is_open = True
        self._dies_at = asyncio.get_running_loop().time() + lives_s
        self._stable = StableText()
        self._sent = self._waits = ""  # text that landed, and text that is to go next
        self._is_exact = True  # Slack shows just what was sent, and takes more
        self._tasks = {_THINKING: dict(thinking)}  # as Slack shows them

    async def show(self, draft: Draft) -> None:
        """Append what is new; raises `StreamEnded` where edits must go on, else `SlackCallError`
        and then what was not taken goes along with the next draft."""
        if not self._is_exact or asyncio.get_running_loop().time() >= self._dies_at:
            await self._end()
        try:
            text = unpinged(draft.text.lstrip("\n"))[:PART_CHARS]
            self._waits += self._stable.feed(text)
        except TextChanged:
            await self._end()
        if _LINK.search(self._sent[-_LINK_CHARS:] + self._waits):
            await self._end()
        tasks = self._changed(_tasks(draft, self._tasks))
        if not (tasks or self._waits):
            return
        try:
            with only_while(self.may_show, "slack"):
                await self._call_append([*tasks, *_text(self._waits)])
        except SlackCallError as error:
            if error.retry_after_s is None:
                await self._end()
            self._pools.appends.pause(error.retry_after_s or 0.0)
            raise
        self._sent, self._waits = self._sent + self._waits, ""
        self._tasks |= {each["id"]: each for each in tasks}

    async def finish(self, args: Mapping[str, Any], token: str) -> bool:
        """End with exactly the content of `args`; False where it is over but says less."""
        blocks = list(args["blocks"])
        text = str(blocks[0].get("text", "")) if blocks[0]["type"] == "markdown" else ""
        is_more = text.startswith(self._sent) and not _LINK.search(text)
        has_table = any(each["type"] == "table" for each in blocks)
        if not (self._is_exact and is_more) or has_table:
            await self.stop("active")
            return False
        running = (each for each in self._tasks.values() if each["status"] == "in_progress")
        tasks = [each | {"status": "complete"} for each in running]
        chunks = [*tasks, *_text(text[len(self._sent) :])]
        return await self.stop("active", chunks=chunks, blocks=blocks[1:], metadata=mark(token))

    async def stop(self, session: Literal["active", "processing"], **last: Any) -> bool:
        """End the stream; True when Slack took what it ends with. Raises `DeliveryError`."""
        if not self.is_open:
            return False
        where = (self._api, self._pools, self.channel, self.ts)
        done = await stop_stream(*where, may_show=self.may_show, session_status=session, **last)
        self.give_up()
        return done is not None

    def give_up(self) -> None:
        """It is no longer ours, or dies by itself."""
        if self.is_open:
            self.is_open = False
            self._pools.slots.give_back()

    async def _end(self) -> None:
        """Slack's stop button stays: the work goes on."""
        self._is_exact = False
        await self.stop("processing")
        raise StreamEnded

    async def _call_append(self, chunks: list[dict[str, str]]) -> None:
        await self._api.call(
            "chat.appendStream", quiet=True, channel=self.channel, ts=self.ts, chunks=chunks
        )

    def _changed(self, tasks: Mapping[str, dict[str, str]]) -> list[dict[str, str]]:
        return [each for key, each in tasks.items() if self._tasks.get(key) != each]


def _tasks(draft: Draft, shown: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The steps of the work by their ids: names only, never arguments."""
    is_done = bool(draft.text or draft.activities)
    title = draft.status if draft.status and not is_done else shown[_THINKING]["title"]
    found = [_task(_THINKING, title, "complete" if is_done else "in_progress")]
    for number, each in enumerate(draft.activities):
        found.append(_task(f"step-{number}", doing(each.name), _STATES[each.state]))
    return {each["id"]: each for each in found}


def _task(task_id: str, title: str, status: str) -> dict[str, str]:
    title = title[:_TITLE_CHARS]
    return {"type": "task_update", "id": task_id, "title": title, "status": status}


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "markdown_text", "text": text}] if text else []


def is_orphan(message: Mapping[str, Any], streamer: str) -> bool:
    """Streamed by `streamer` and never ended by it: only its last call marks a message."""
    is_streamed = bool(streamer and message.get("streaming_state"))
    return is_streamed and message.get("user") == streamer and not message.get("metadata")
