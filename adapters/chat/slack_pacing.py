"""Slack's rate limits: one pool per limit, and calls that wait out a refusal for speed."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from adapters.chat.ours import only_while
from adapters.chat.pacing import Pool, Urgency
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.types import MayShow, always

LONGEST_WAIT_S = 60.0  # a longer Retry-After is given back to the caller
_TRIES = 5
_PAUSE_S = 0.25  # after the first failure that passes by itself; doubled each time, with jitter
_REPEATABLE = ("agents.", "chat.delete", "chat.update", "conversations.", "files.delete", "users.")
_CHANNELS = 2_000
_GONE = frozenset({"message_not_found", "channel_not_found", "file_not_found", "file_deleted"})


class Pools:
    """Updates, deletions and reads each have the workspace's limit, posts their channel's.

    `updates` is this process' share of the 50 a minute that Slack's third tier allows.
    """

    def __init__(self, *, updates: int, window_s: float, edit_every_s: float) -> None:
        self.updates = Pool(calls=updates, window_s=window_s, reserve=updates // 4)
        self.deletes = Pool(calls=updates, window_s=window_s, reserve=0)
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

    def edits(self) -> Pool:
        """The pool of one message's interim edits: slow by itself, and within `updates`."""
        return _Slow(self.updates, self._edit_every_s)


class _Slow(Pool):
    def __init__(self, shared: Pool, every_s: float) -> None:
        super().__init__(calls=1, window_s=every_s, reserve=0)
        self._shared = shared

    async def take(self, urgency: Urgency) -> None:
        await super().take(urgency)
        await self._shared.take(urgency)


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


async def delete(api: SlackApi, pools: Pools, message_id: str) -> None:
    """Delete our message `channel:ts`; one that is gone, or whose channel is, is fine.

    `channel:ts:file` takes the file along, `channel::file` is the file alone.
    """
    channel, ts, file_id, *_ = (*message_id.split(":"), "", "")
    if file_id:
        await _delete(api, pools, "files.delete", {"file": file_id})
    if ts:
        await _delete(api, pools, "chat.delete", {"channel": channel, "ts": ts})


async def _delete(api: SlackApi, pools: Pools, method: str, args: Mapping[str, Any]) -> None:
    try:
        await call_when_free(api, method, args, pools.deletes, Urgency.FINAL)
    except SlackCallError as error:
        if error.error not in _GONE:
            raise
