"""Compaction at chosen points: after a turn, a long conversation's beginning becomes a summary.

It runs beside the turns, one conversation at a time, and nobody waits for it. Whatever fails
means no recap now; a later turn asks again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from adapters.stores.errors import StoreUnavailable
from adapters.stores.ledger import Ledger
from adapters.stores.memory import RedisMemory, UnknownFormat, decode_summary
from agents.errors import AgentError
from agents.summary import Folded, Summarizer, Summary, exchanges_of
from agents.turns import Returned, Turn
from bot.attachments import Terms
from bot.health import Metrics
from bot.privacy import LocalOnly
from tools.identity import ConversationKey

log = structlog.get_logger(__name__)

_FULL = 0.6  # of the prompt's room for history; the planner's window cuts at 0.8
_KEPT = 0.25  # of that room, in what stays as it was said
_MOST_ENTRIES = 60  # a claim brings at least 50 of what no recap covers, and at most 100
_KEPT_ENTRIES = 24
_WITHIN_S = 300.0
_REST_S = 60.0  # after a failure, for the conversation it failed in
_MOST_WAITING = 1000


@dataclass(frozen=True, slots=True)
class Wish:
    """A conversation whose beginning is to be summed up, on the terms of the turn that saw it."""

    key: ConversationKey
    user_id: str
    terms: Terms
    pin: str | None
    fill: float  # see `PlanEnded.fill`


class Recaps:
    """Takes wishes from turns, and makes the recaps one after another."""

    def __init__(
        self,
        memory: RedisMemory,
        ledger: Ledger,
        summarizer: Summarizer,
        local_only: LocalOnly,
        metrics: Metrics,
        *,
        within_s: float = _WITHIN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._memory, self._ledger, self._summarizer = memory, ledger, summarizer
        self._local_only, self._metrics, self._clock = local_only, metrics, clock
        self._within_s = within_s
        self._wishes: dict[ConversationKey, Wish] = {}
        self._resting: dict[ConversationKey, float] = {}
        self._wished = asyncio.Event()

    def offer(self, wish: Wish, *, entries: int) -> None:
        """Remember the conversation if it is long enough; never waits and never fails.

        A turn without a plan (a command) has no terms on which a model could be asked.
        """
        if not wish.fill or (wish.fill < _FULL and entries < _MOST_ENTRIES):
            return
        if self._resting.get(wish.key, 0.0) > self._clock():
            return
        if len(self._wishes) < _MOST_WAITING or wish.key in self._wishes:
            self._wishes[wish.key] = wish
            self._wished.set()

    @property
    def is_busy(self) -> bool:
        return self._wished.is_set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wished.wait()
            while self._wishes:
                key = next(iter(self._wishes))
                await self._make(self._wishes.pop(key))
            self._wished.clear()

    async def _make(self, wish: Wish) -> None:
        try:
            async with asyncio.timeout(self._within_s):
                if await self._fold_all(wish):
                    return
        except (AgentError, StoreUnavailable, TimeoutError) as error:
            log.warning("recap.not_made", error=type(error).__name__)
        except UnknownFormat:
            log.warning("recap.left_alone", why="a newer version wrote it")
        except Exception as error:  # a lane of its own: the turns go on
            log.exception("recap.failed", error=type(error).__name__)
        self._rest(wish.key)

    def _rest(self, key: ConversationKey) -> None:
        now = self._clock()
        self._resting = {each: until for each, until in self._resting.items() if until > now}
        self._resting[key] = now + _REST_S

    async def _fold_all(self, wish: Wish) -> bool:
        """Fold what is old, as much in one request as it can hold; False when no model would."""
        known = await self._memory.uncovered(wish.key)
        before, was = decode_summary(known.recap.record), known.recap
        if was.covers and before is None:
            log.warning("recap.rebuilt")  # it can't be read; what it was made of is still there
            known = await self._memory.uncovered(wish.key, from_start=True)
        pieces, covers = exchanges_of(known.turns), known.first
        old = pieces[: _folded(pieces, wish.fill)]
        while old:
            folded = await self._fold(wish, before, [[t for t in piece if t] for piece in old])
            if folded is None:
                return False
            covers += sum(len(piece) for piece in old[: folded.exchanges])
            before, old = folded.summary, old[folded.exchanges :]
            if not await self._memory.write_recap(wish.key, before, was=was, covers=covers):
                log.info("recap.outdated")
                return True
            was = msgspec.structs.replace(was, covers=covers)
            log.info("recap.made", covers=covers, chars=len(before.text))
        return True

    async def _fold(
        self, wish: Wish, before: Summary | None, old: Sequence[Sequence[Turn]]
    ) -> Folded | None:
        pins = await self._ledger.pins(wish.key)  # somebody may have said /private since
        folded = await self._summarizer.fold(
            before,
            old,
            pin=wish.pin,
            local_only=wish.terms.local_only or self._local_only(wish.key, pins, wish.user_id),
            allowance=wish.terms.allowance,
        )
        if folded is not None:
            self._metrics.tokens(folded.summary.route, folded.usage)
        return folded


def _folded(pieces: Sequence[Sequence[Turn | None]], fill: float) -> int:
    """How many of the oldest exchanges go, in one big cut; the newest always stays."""
    sizes = [sum(_size(turn) for turn in piece if turn) for piece in pieces]
    kept_size = sum(sizes) * min(1.0, _KEPT / max(fill, _KEPT))
    size = entries = kept = 0
    for piece, its_size in zip(reversed(pieces), reversed(sizes), strict=True):
        size, entries = size + its_size, entries + len(piece)
        if kept and (size > kept_size or entries > _KEPT_ENTRIES):
            break
        kept += 1
    return len(pieces) - kept


def _size(turn: Turn) -> int:
    results = sum(len(part.result.text) for part in turn.parts if isinstance(part, Returned))
    files = sum(len(file.text) for file in turn.documents)
    return len(turn.text) + results + files + sum(len(image.seen) for image in turn.images)
