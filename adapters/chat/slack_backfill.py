"""What was said while nobody listened: read once more, oldest first, through the same inbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from adapters.chat.pacing import Urgency
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.slack_events import EventReader
from adapters.chat.slack_pacing import Pools, call_when_free
from adapters.chat.types import Inbox, NotAccepted

log = structlog.get_logger(__name__)

MAX_AGE_S = 15 * 60.0
MAX_MESSAGES = 200  # of one channel; one call of history gives as many
MAX_THREADS = 50  # of one channel, the last to be written in
MAX_STRANGE = 100  # channels the bot is in, but where nobody asked it anything before
BLINK_S = 15.0  # a gap that Slack's own resends bridge
_MARGIN_S = 60.0
_REFUSED_S = 10.0  # until what could not be stored is looked for
_AT_ONCE = 10  # channels whose messages are put in order together
_CLOSED = frozenset(
    {"channel_not_found", "missing_scope", "not_in_channel", "thread_not_found", "is_archived"}
)
_KINDS = "im,mpim,public_channel,private_channel"

Said = tuple[float, str, Mapping[str, Any]]  # when, channel, message


class Gaps:
    """When nobody listened, told from what is seen of the connections."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._alive_at: float | None = None

    def alive(self) -> None:
        """A connection lives now."""
        self._alive_at = self._clock()

    def connected(self) -> float | None:
        """A new connection is up: since when something may have been missed, if at all."""
        now, seen = self._clock(), self._alive_at
        self._alive_at = now
        if seen is None:
            return now - MAX_AGE_S
        if now - seen <= BLINK_S:
            return None
        return max(seen - _MARGIN_S, now - MAX_AGE_S)


class Backfill:
    """Fills the gap before each connection. A first install has no marks and replays nothing.

    `prepare` comes before the first connection, because messages told live move the marks.
    """

    def __init__(
        self, api: SlackApi, pools: Pools, reader: EventReader, inbox: Inbox, *, again_s: float
    ) -> None:
        self._api, self._pools, self._reader, self._inbox = api, pools, reader, inbox
        self._again_s = again_s
        self._gaps = Gaps()
        self.alive = self._gaps.alive
        self._marks: Mapping[str, float] | None = None  # as they were before anybody listened
        self._since: float | None = None  # when the gap that is to be filled began
        self._wanted = asyncio.Event()

    async def prepare(self) -> None:
        try:
            self._marks = await self._inbox.marks(self._reader.tenant)
        except NotAccepted:
            log.warning("slack.no_marks")

    def connected(self) -> None:
        """A new connection is up: fill the gap before it."""
        if (since := self._gaps.connected()) is None:
            return
        self._since = since if self._since is None else min(since, self._since)
        self._wanted.set()

    def refused(self) -> None:
        """An event could not be stored. Slack sends it a few times more, and each may find the
        store away again; so it is looked for, like what was said while nobody listened."""
        since = time.time() - _MARGIN_S
        self._since = since if self._since is None else min(since, self._since)
        wait_s = min(self._again_s, _REFUSED_S)
        asyncio.get_running_loop().call_later(wait_s, self._wanted.set)

    async def run(self) -> None:
        """Fill every gap, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            give_up_at = time.monotonic() + MAX_AGE_S
            while not await self._filled():
                if time.monotonic() > give_up_at:
                    break
                await asyncio.sleep(self._again_s)
            self._marks = None  # from now on they move
            if not self._wanted.is_set():
                self._since = None

    async def _filled(self) -> bool:
        """Read and offer everything; False when some of it must be tried again."""
        since = self._since or time.time() - MAX_AGE_S
        try:
            marks = self._marks
            if marks is None:
                heard = await self._inbox.marks(self._reader.tenant)
                marks = dict.fromkeys(heard, since)
            if not marks:
                return True
            begins = await self._begins(marks, since)
            whole, offered = True, 0
            for at in range(0, len(begins), _AT_ONCE):
                found = await self._read_all(begins[at : at + _AT_ONCE])
                whole &= None not in found
                said = [each for channel in found for each in channel or ()]
                offered += await self._offer(sorted(said, key=lambda each: each[0]))
        except (NotAccepted, SlackCallError) as error:
            log.warning("slack.backfill_stopped", error=type(error).__name__)
            return False
        log.info("slack.backfilled", channels=len(begins), offered=offered, whole=whole)
        return whole

    async def _begins(self, marks: Mapping[str, float], since: float) -> list[tuple[str, float]]:
        """Where to read and from when: the channels heard last come first."""
        heard = sorted(((at, channel) for channel, at in marks.items() if channel), reverse=True)
        begins = [(channel, max(at, since)) for at, channel in heard]
        strange = [each for each in await self._places() if each not in marks]
        newest = max(marks.get("", 0.0), since)
        return begins + [(channel, newest) for channel in strange[:MAX_STRANGE]]

    async def _places(self) -> list[str]:
        """The channels the bot is in, direct messages first."""
        args = {"types": _KINDS, "exclude_archived": True, "limit": 1000}
        try:
            answer = await self._call("users.conversations", args)
        except SlackCallError as error:
            if error.error not in _CLOSED:
                raise
            return []
        places = sorted(answer.get("channels", ()), key=lambda each: not each.get("is_im"))
        return [str(each["id"]) for each in places]

    async def _read_all(self, begins: Sequence[tuple[str, float]]) -> list[list[Said] | None]:
        """Each channel's messages, or None for one that can't be read just now."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read(*each), name="slack history") for each in begins]
        return [task.result() for task in tasks]

    async def _read(self, channel: str, since: float) -> list[Said] | None:
        try:
            tops = await self._page("conversations.history", channel, {})
            grown = [each for each in tops if _seconds(each.get("latest_reply")) > since]
            found = {str(each["ts"]): each for each in tops}
            for root in grown[:MAX_THREADS]:
                args = {"ts": root["ts"], "oldest": f"{since:.6f}"}
                for each in await self._page("conversations.replies", channel, args):
                    found[str(each["ts"])] = each
        except SlackCallError as error:
            log.info("slack.history_unread", error=str(error))
            return [] if error.error in _CLOSED else None
        said = [(_seconds(ts), channel, each) for ts, each in found.items()]
        newer = sorted((each for each in said if each[0] > since), key=lambda each: each[0])
        return newer[-MAX_MESSAGES:]

    async def _page(
        self, method: str, channel: str, args: Mapping[str, Any]
    ) -> list[Mapping[str, Any]]:
        answer = await self._call(method, {"channel": channel, "limit": MAX_MESSAGES, **args})
        return [each for each in answer.get("messages", ()) if _seconds(each.get("ts"))]

    async def _call(self, method: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        pool = self._pools.reads(method)
        return await call_when_free(self._api, method, args, pool, Urgency.EDIT)

    async def _offer(self, said: Sequence[Said]) -> int:
        """Hand over what is for the bot, as if it were told live."""
        offered, threads = 0, set[tuple[str, str]]()
        for _, channel, each in said:
            thread = (channel, str(each.get("thread_ts") or ""))
            if thread[1] and thread not in threads:  # it may have to be asked whose thread it is
                threads.add(thread)
                await self._pools.reads("conversations.replies").take(Urgency.EDIT)
            if message := await self._reader.read_history(channel, each):
                await self._inbox.accept(message)
                offered += 1
        return offered


def _seconds(ts: Any) -> float:
    try:
        return float(ts or 0)
    except ValueError:
        return 0.0
