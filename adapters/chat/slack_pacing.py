"""Slack's rate limits: one pool per limit, and calls that wait out a refusal for speed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from adapters.chat.ours import only_while
from adapters.chat.pacing import Pool, Urgency
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.types import MayShow, always

LONGEST_WAIT_S = 60.0  # a longer Retry-After is given back to the caller
_TRIES = 5
_PAUSE_S = 0.25  # after the first failure that passes by itself; doubled each time, with jitter
_REPEATABLE = (
    "agents.",
    "assistant.",
    "chat.delete",
    "chat.getPermalink",
    "chat.stopStream",
    "chat.update",
    "conversations.",
    "files.delete",
    "users.",
)
STILL_STREAMED = "streaming_state_conflict"  # an open stream takes no edits
_APPENDS_SLOWER = 1.5  # Slack shows appended text growing smoothly, so fewer calls look as live
_CHANNELS = 2_000
_GONE = frozenset({"message_not_found", "channel_not_found", "file_not_found", "file_deleted"})


class Pools:
    """Updates, deletions and reads each have the workspace's limit, posts their channel's.

    `updates` is this process' share of the 50 a minute that Slack's third tier allows; of the
    100 appends and of the 20 starts and stops of streams it takes the same share.
    """

    def __init__(self, *, updates: int, window_s: float, edit_every_s: float) -> None:
        self.updates = Pool(calls=updates, window_s=window_s, reserve=updates // 4)
        self.deletes = Pool(calls=updates, window_s=window_s, reserve=0)
        self.appends = Pool(calls=2 * updates, window_s=window_s, reserve=0)
        self.stops = Pool(calls=max(2 * updates // 5, 1), window_s=window_s, reserve=0)
        self.slots = Slots(count=max(2 * updates // 5, 1), window_s=window_s)
        self._share, self._window_s = updates, window_s
        self._reads: dict[str, Pool] = {}
        self._edit_every_s = edit_every_s
        self._posts: OrderedDict[str, Pool] = OrderedDict()

    def posts(self, channel: str) -> Pool:
        if channel not in self._posts:
            # one a second on average; Slack allows short bursts
            self._posts[channel] = Pool(calls=3, window_s=3.0, reserve=0)
        self._posts.move_to_end(channel)
        if len(self._posts) > _CHANNELS:
            self._posts.popitem(last=False)
        return self._posts[channel]

    def reads(self, method: str) -> Pool:
        """A backfill leaves some of it free: a reply that looks for its parts goes first."""
        if method not in self._reads:
            pool = Pool(calls=self._share, window_s=self._window_s, reserve=self._share // 3)
            self._reads[method] = pool
        return self._reads[method]

    def drafts(self, is_streamed: Callable[[], bool]) -> Pool:
        """The pool of one message's drafts: slow by itself, and within `appends` or `updates`."""
        return _Slow(self, self._edit_every_s, is_streamed)


class _Slow(Pool):
    def __init__(self, pools: Pools, every_s: float, is_streamed: Callable[[], bool]) -> None:
        super().__init__(calls=1, window_s=every_s, reserve=0)
        self._pools, self._every_s, self._is_streamed = pools, every_s, is_streamed

    async def take(self, urgency: Urgency) -> None:
        is_streamed = self._is_streamed()
        self._window_s = self._every_s * (_APPENDS_SLOWER if is_streamed else 1.0)
        await super().take(urgency)
        await (self._pools.appends if is_streamed else self._pools.updates).take(urgency)


class Slots:
    """How many streams may be begun. Each keeps its slot until a window after its end, so that
    neither a start nor a stop is ever refused for speed, and no stop has to wait."""

    def __init__(
        self, *, count: int, window_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count, self._window_s, self._clock = count, window_s, clock
        self._open = 0
        self._ended: deque[float] = deque()
        self._paused_until = 0.0

    def take(self) -> bool:
        now = self._clock()
        while self._ended and now - self._ended[0] >= self._window_s:
            self._ended.popleft()
        if now < self._paused_until or self._open + len(self._ended) >= self._count:
            return False
        self._open += 1
        return True

    def give_back(self) -> None:
        """The stream ended, or was not begun after all, which may count with Slack too."""
        self._open -= 1
        self._ended.append(self._clock())

    def pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, self._clock() + seconds)


async def call_when_free(
    api: SlackApi,
    method: str,
    args: Mapping[str, Any],
    pool: Pool,
    urgency: Urgency,
    *,
    may_show: MayShow = always,
) -> Mapping[str, Any]:
    """Call when the pool allows; waits out a Retry-After of up to a minute.

    What fails by Slack's own trouble is tried again, in all at most 5 times; not where it may
    have been done and must not be done twice.
    Raises `NotOurs`, and sends nothing, when `may_show` says no by then.
    """
    for tries_left in reversed(range(_TRIES)):
        await pool.take(urgency)
        try:
            with only_while(may_show, "slack"):
                return await api.call(method, **args)
        except SlackCallError as error:
            wait_s = error.retry_after_s
            if wait_s is None:
                is_safe = method.startswith(_REPEATABLE) or not error.doubtful
                if not (error.retryable and is_safe and tries_left):
                    raise
                await asyncio.sleep(_jittered(_PAUSE_S * 2 ** (_TRIES - 1 - tries_left)))
                continue
            pool.pause(wait_s)
            if wait_s > LONGEST_WAIT_S or not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _jittered(pause_s: float) -> float:
    return pause_s * random.uniform(0.5, 1.5)  # noqa: S311 - spreads the load, keeps no secret


async def stop_stream(
    api: SlackApi,
    pools: Pools,
    channel: str,
    ts: str,
    *,
    may_show: MayShow = always,
    **last: Any,
) -> Mapping[str, Any] | None:
    """End the stream with its `last` content; None where it was over, or takes none of it.

    What the message can still take is for the next call to tell.
    """
    args = {"channel": channel, "ts": ts, **last}
    try:
        return await call_when_free(
            api, "chat.stopStream", args, pools.stops, Urgency.FINAL, may_show=may_show
        )
    except SlackCallError as error:
        if error.retryable:
            raise
    return None


async def change(
    api: SlackApi, pools: Pools, args: Mapping[str, Any], *, may_show: MayShow = always
) -> None:
    """Edit our message for good; ends the stream that a process left open when it died."""
    try:
        await call_when_free(
            api, "chat.update", args, pools.updates, Urgency.FINAL, may_show=may_show
        )
    except SlackCallError as error:
        if error.error != STILL_STREAMED:
            raise
        await stop_stream(api, pools, args["channel"], args["ts"], may_show=may_show)
        await call_when_free(
            api, "chat.update", args, pools.updates, Urgency.FINAL, may_show=may_show
        )


async def delete(api: SlackApi, pools: Pools, message_id: str) -> None:
    """Delete our message `channel:ts`; one that is gone, or whose channel is, is fine.

    `channel:ts:file` takes the file along, `channel::file` is the file alone.
    """
    channel, ts, file_id, *_ = (*message_id.split(":"), "", "")
    if file_id:
        await _delete(api, pools, "files.delete", {"file": file_id})
    if ts:
        args = {"channel": channel, "ts": ts}
        try:
            await _delete(api, pools, "chat.delete", args)
        except SlackCallError as error:  # an open stream can't be deleted either
            is_open = error.error == "cant_delete_message"
            if not is_open or await stop_stream(api, pools, channel, ts) is None:
                raise
            await _delete(api, pools, "chat.delete", args)


async def _delete(api: SlackApi, pools: Pools, method: str, args: Mapping[str, Any]) -> None:
    try:
        await call_when_free(api, method, args, pools.deletes, Urgency.FINAL)
    except SlackCallError as error:
        if error.error not in _GONE:
            raise
