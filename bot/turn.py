"""The life of one turn, from a claim to its one end state."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog

from adapters.chat.sentences import mark, say
from adapters.chat.types import AdapterError, ChatAdapter, DeliveryError, Offers, ReplyStream
from adapters.stores.errors import Halted, StoreError, StoreUnavailable
from adapters.stores.ledger import DELETED, Ledger
from adapters.stores.memory import encode_turn
from bot.answering import Answerer
from bot.delivery import Delivery
from bot.health import Metrics
from bot.hold import Hold
from bot.letters import UNREADABLE, letter_of, opened, unreadable_letter
from bot.parts import parts_to_send
from bot.recaps import Recaps
from bot.recording import Recorder
from bot.records import Ending, Event, decode_ending, encode
from bot.reply import GrowingReply, final_parts
from bot.running import Outcome, RunningTurn

log = structlog.get_logger(__name__)

_LATER_S = 5.0  # a platform that is away is tried again after this
_GIVE_UP_AFTER_S = 15 * 60.0  # and for this long (reliability row D2)
_LOOK_EVERY_S = 0.5  # how soon a stop pressed at another process is noticed
OWN_WORDS = ("command", "reminder", "notice", "hand_over")  # reasons: no model said it
FORGOTTEN = mark("Forgotten, so I did not answer this.")


class TurnRunner:
    """Runs claims; `run` returns True when more can be done in the conversation at once."""

    def __init__(
        self,
        *,
        adapters: Mapping[str, ChatAdapter],
        ledger: Ledger,
        answerer: Answerer,
        delivery: Delivery,
        metrics: Metrics,
        max_deaths: int,
        max_parts: int,
        recorder: Recorder | None = None,
        recaps: Recaps | None = None,
        paused: Callable[[str, str], str] = lambda adapter, tenant: "",
        ended: Callable[[Event, Ending], None] = lambda event, ending: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._adapters, self._ledger, self._answerer = adapters, ledger, answerer
        self._delivery, self._metrics, self._clock, self._ended = delivery, metrics, clock, ended
        self._max_deaths, self._max_parts, self._recaps = max_deaths, max_parts, recaps
        self._paused, self._recorder = paused, recorder

    async def run(self, hold: Hold) -> bool:
        """P2 to the end. Raises `StaleLease` and `StoreUnavailable`; nothing else."""
        claim = hold.claim
        turn, newer = opened(hold)
        if newer and self._clock() - newer < _GIVE_UP_AFTER_S:
            # Left to that version's workers (row A9).
            await self._ledger.give_back(claim.lease, later_s=_LATER_S)
            return False
        if turn is None:
            return await self._ledger.close(
                claim.lease,
                turn_id=f"unreadable:{claim.event_ids[0]}",
                state="failed",
                reason=UNREADABLE,
                dead=unreadable_letter(claim, self._clock()),
            )
        adapter = self._adapters.get(turn.last.message.adapter)
        if adapter is None:  # a terminal that is gone: nobody is left to answer
            return await self._ledger.close(
                claim.lease, turn_id=turn.turn_id, state="failed", reason="nobody to answer"
            )
        if turn.last.erases is not None:
            return await self._erased(turn, adapter)
        reply = adapter.reply(turn.last.message, may_show=hold.lasts)
        try:
            ending = await self._finish(turn, adapter, reply)
            if ending is None:
                hold.end()
                await self._ledger.give_back(claim.lease, later_s=_LATER_S)
                return False
            more = await self._close(turn, ending)
            self._ended(turn.last, ending)
        except Halted as halt:  # edited, or deleted at the last instant: the next claim knows
            log.info("turn.begins_anew", turn=turn.turn_id, why=halt.kind)
            await self._delivery.remember_last(turn)
            hold.end()
            await reply.aclose()  # a draft on its way arrives before another begins
            await self._ledger.give_back(claim.lease)
            return True
        finally:
            await reply.aclose()
        self._tell(turn, ending)
        if self._recorder is not None and turn.is_recorded:
            with contextlib.suppress(StoreUnavailable):  # its acts are recorded, and it is closed
                await self._recorder.ended(turn, ending.state)
        if self._recaps is not None:
            self._recaps.offer(turn.recap_wish(), entries=len(claim.memory))
        return more

    async def _erased(self, turn: RunningTurn, adapter: ChatAdapter) -> bool:
        """Take an answer away whose question was deleted; a platform that is away has time."""
        ending: Ending | None = Ending("stopped", DELETED)
        try:
            await self._delivery.erase(turn, adapter)
        except AdapterError as error:
            ending = self._undelivered(turn, error)
        if ending is None:
            await self._ledger.give_back(turn.claim.lease, later_s=_LATER_S)
            return False
        return await self._close(turn, ending)

    async def _close(self, turn: RunningTurn, ending: Ending) -> bool:
        answer, last = b"", b""
        if turn.posted and not turn.is_command:
            answer, last = encode(turn.answered()), encode(turn.as_last())
        return await self._ledger.close(
            turn.claim.lease,
            turn_id=turn.turn_id,
            state=ending.state,
            reason=ending.reason,
            answer=answer,
            last=last,
            dead=letter_of(turn, ending, max_deaths=self._max_deaths, now=self._clock()),
            also=turn.found_by,
        )

    async def _finish(
        self, turn: RunningTurn, adapter: ChatAdapter, reply: ReplyStream
    ) -> Ending | None:
        """The end state, or None while the platform can't take the reply for the moment.

        Raises `Halted` for an edit.
        """
        try:
            if turn.claim.halt in ("delete", "forget"):
                return await self._halted(turn, adapter, reply, turn.claim.halt)
            if turn.claim.ending is None and (why := await self._answerer.silence(turn)):
                return await self._kept(turn, why)
            async with asyncio.TaskGroup() as group:
                return await self._answered(turn, adapter, reply, group)
        except ExceptionGroup as errors:
            error = _first(errors)
            if isinstance(error, StoreError):
                raise error from None
            if isinstance(error, AdapterError):
                return self._undelivered(turn, error)
            # Tried again after the lease, unless it has failed too often already.
            if turn.claim.deaths <= self._max_deaths:
                raise error from None
            return Ending("failed", f"dead: {type(error).__name__}")
        except AdapterError as error:
            return self._undelivered(turn, error)

    async def _kept(self, turn: RunningTurn, why: str) -> Ending:
        """Nothing is said; what people said is remembered all the same."""
        ending = Ending("refused", why)
        unsaid = turn.last.says is not None or turn.last.message.addressing == "overheard"
        said = () if unsaid else (turn.plain_question(),)
        await self._ledger.ready(
            turn.claim.lease,
            ending=encode(ending),
            parts=(),
            memory=[encode_turn(entry) for entry in said],
        )
        return ending

    def _undelivered(self, turn: RunningTurn, error: AdapterError) -> Ending | None:
        log.warning("turn.undeliverable", turn=turn.turn_id, error=str(error))
        age_s = self._clock() - turn.last.accepted_at
        if isinstance(error, DeliveryError) and error.retryable and age_s < _GIVE_UP_AFTER_S:
            return None
        return Ending("failed", f"delivery: {type(error).__name__}")

    async def _answered(
        self,
        turn: RunningTurn,
        adapter: ChatAdapter,
        reply: ReplyStream,
        group: asyncio.TaskGroup,
    ) -> Ending:
        opening = group.create_task(self._delivery.open(turn, reply), name="turn.open")
        growing = GrowingReply(reply, locale=turn.locale)
        try:
            ending, outbox = await self._result(turn, adapter, growing)
            await opening
            await self._delivery.put(turn, reply, outbox, offers=_offers(ending))
        except Halted as halt:
            await opening  # what it shows must be known before anything else is done
            return await self._halted(turn, adapter, reply, halt.kind, growing.text)
        return ending

    async def _result(
        self, turn: RunningTurn, adapter: ChatAdapter, growing: GrowingReply
    ) -> tuple[Ending, dict[int, bytes]]:
        """The end state and the parts still to send; a dead worker's are taken over."""
        if turn.claim.ending is not None:
            return decode_ending(turn.claim.ending), turn.claim.outbox
        if turn.claim.halt is not None:
            raise Halted(turn.claim.halt)
        await self._delivery.replace(turn, adapter)
        outcome = await self._unless_halted(turn, self._answerer.outcome(turn, adapter, growing))
        return await self._store(turn, adapter, outcome)

    async def _unless_halted(self, turn: RunningTurn, work: Awaitable[Outcome]) -> Outcome:
        """The work's outcome; `Halted` as soon as somebody stops, edits, deletes or forgets."""

        async def watch() -> None:
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                self._insist_on_tenant(turn)
                if kind := await self._ledger.halted(turn.claim.lease):
                    raise Halted(kind)

        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(watch(), name="turn.watch")
                outcome = await work
                watching.cancel()
        except ExceptionGroup as errors:
            raise _first(errors) from None
        return outcome

    def _insist_on_tenant(self, turn: RunningTurn) -> None:
        """Raises `DeliveryError` where the app was removed: nobody could read the answer (D5)."""
        adapter, tenant = turn.last.message.adapter, turn.claim.lease.key.tenant
        if reason := self._paused(adapter, tenant):
            raise DeliveryError(adapter, f"nothing can be said there: {reason}", retryable=False)

    async def _halted(
        self,
        turn: RunningTurn,
        adapter: ChatAdapter,
        reply: ReplyStream,
        kind: str,
        shown: str = "",
    ) -> Ending:
        """The end of a turn that may not go on; raises `Halted` when it begins anew."""
        if kind == "stop":
            outcome = turn.stopped(shown)
            ending, outbox = await self._store(turn, adapter, outcome, despite=kind)
            await self._delivery.put(turn, reply, outbox, offers=Offers(again=True))
            return ending
        if kind == "delete":
            await self._delivery.take_back(turn, adapter, reply)
            turn.posted.clear()
            return Ending("stopped", DELETED)
        if kind == "forget":
            await self._delivery.open(turn, reply)
            await self._delivery.put(turn, reply, parts_to_send((say(turn.locale, FORGOTTEN),)))
            turn.posted.clear()
            return Ending("stopped", "forgotten")
        raise Halted(kind)

    async def _store(
        self, turn: RunningTurn, adapter: ChatAdapter, outcome: Outcome, *, despite: str = ""
    ) -> tuple[Ending, dict[int, bytes]]:
        """P7: from here on the reply is delivered, whatever dies."""
        parts = final_parts(
            outcome.text,
            outcome.notes,
            part_chars=adapter.limits.part_chars,
            max_parts=self._max_parts,
            locale=turn.locale,
        )
        outbox = parts_to_send((*parts, *outcome.files))
        await self._ledger.ready(
            turn.claim.lease,
            ending=encode(outcome.ending),
            parts=list(outbox.values()),
            memory=[encode_turn(entry) for entry in outcome.memory],
            despite=despite,
        )
        return outcome.ending, outbox

    def _tell(self, turn: RunningTurn, ending: Ending) -> None:
        seconds = self._clock() - turn.last.accepted_at
        self._metrics.turn_ended(ending.state, seconds)
        log.info(
            "turn.ended",
            turn=turn.turn_id,
            state=ending.state,
            reason=ending.reason,
            seconds=round(seconds, 3),
            prompt_tokens=turn.usage.prompt_tokens,
            cached_tokens=turn.usage.cached_tokens,
            completion_tokens=turn.usage.completion_tokens,
        )


def _offers(ending: Ending) -> Offers:
    return Offers(
        again=ending.state == "failed",
        rating=ending.state == "answered" and ending.reason not in OWN_WORDS,
        press=ending.state == "asked",
        resolve=ending.reason == "hand_over",
    )


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that counts: a halt before whatever it made fail."""
    found: list[BaseException] = []
    pending: list[BaseException] = [errors]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending += error.exceptions
        else:
            found.append(error)
    return next((error for error in found if isinstance(error, Halted)), found[0])
