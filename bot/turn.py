"""The life of one turn, from a claim to its one end state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec
import structlog

from adapters.chat.types import AdapterError, ChatAdapter, DeliveryError, Message, ReplyStream
from adapters.stores.errors import StoreError
from adapters.stores.ledger import Claim, Ledger
from adapters.stores.memory import RedisMemory, decode_turns, encode_turn
from agents.budget import Budget
from agents.events import AnswerDelta, CallsReturned, PlanEnded, RouteSwitched, StepPlanned, Waiting
from agents.planner import Planner, PlanTask
from agents.ports import Usage
from agents.turns import Part, Text, Turn
from bot.attachments import AttachmentReader, ReadAttachments, Terms
from bot.commands import Commands
from bot.footer import TOLD, switch_note
from bot.health import Metrics
from bot.privacy import PRIVATE_BY, LocalOnly
from bot.records import (
    Ending,
    Event,
    decode_ending,
    decode_event,
    decode_step,
    encode,
    part_token,
    turn_id_of,
)
from bot.reply import GrowingReply, final_parts
from tools.contract import Found, Seen, ToolCall, ToolContext
from tools.labels import Integrity, join_labels

log = structlog.get_logger(__name__)

_SEND_TRIES = 3
_LATER_S = 5.0  # a platform that is away is tried again after this
_GIVE_UP_AFTER_S = 15 * 60.0  # and for this long (reliability row D2)


class Outcome(msgspec.Struct, frozen=True):
    """What a turn comes to, before any of it is stored or sent."""

    ending: Ending
    text: str
    notes: tuple[str, ...] = ()
    memory: tuple[Turn, ...] = ()


class TurnRunner:
    """Runs claims; `run` returns True when more events wait in the conversation."""

    def __init__(
        self,
        *,
        adapters: Mapping[str, ChatAdapter],
        ledger: Ledger,
        memory: RedisMemory,
        planner: Planner,
        attachments: AttachmentReader,
        commands: Commands,
        metrics: Metrics,
        max_deaths: int,
        max_parts: int,
        local_only: LocalOnly,
        budget: Budget,
        ended: Callable[[Event, Ending], None] = lambda event, ending: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ended, self._local_only, self._budget = ended, local_only, budget
        self._adapters, self._ledger, self._memory = adapters, ledger, memory
        self._planner, self._attachments, self._commands = planner, attachments, commands
        self._metrics, self._clock = metrics, clock
        self._max_deaths, self._max_parts = max_deaths, max_parts

    async def run(self, claim: Claim) -> bool:
        """P2 to the end. Raises `StaleLease` and `StoreUnavailable`; nothing else."""
        try:
            turn = _RunningTurn(claim, [decode_event(record) for record in claim.events])
        except msgspec.MsgspecError as error:
            # Nobody can be told: who asked is in the record that can't be read.
            log.error("store.bad_record", error=type(error).__name__)
            return await self._ledger.close(
                claim.lease, turn_id="unreadable", state="failed", reason="unreadable event"
            )
        adapter = self._adapters.get(turn.last.message.adapter)
        if adapter is None:  # a terminal that is gone: nobody is left to answer
            return await self._ledger.close(
                claim.lease, turn_id=turn.turn_id, state="failed", reason="nobody to answer"
            )
        reply = adapter.reply(turn.last.message)
        try:
            ending = await self._finish(turn, adapter, reply)
            if ending is None:
                await self._ledger.give_back(claim.lease, later_s=_LATER_S)
                return False
            more = await self._ledger.close(
                claim.lease, turn_id=turn.turn_id, state=ending.state, reason=ending.reason
            )
            self._ended(turn.last, ending)
        finally:
            await reply.aclose()
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
        return more

    async def _finish(
        self, turn: _RunningTurn, adapter: ChatAdapter, reply: ReplyStream
    ) -> Ending | None:
        """The end state, or None while the platform can't take the reply for the moment."""
        try:
            async with asyncio.TaskGroup() as group:
                opening = group.create_task(self._open(turn, reply), name="turn.open")
                ending, outbox = await self._result(turn, adapter, reply)
                await opening
                await self._deliver(turn, reply, outbox)
        except ExceptionGroup as errors:
            error = _first(errors)
            if isinstance(error, StoreError):
                raise error from None
            if not isinstance(error, AdapterError):
                # Tried again after the lease, unless it has failed too often already.
                if turn.claim.deaths <= self._max_deaths:
                    raise error from None
                log.error("turn.dead", turn=turn.turn_id, error=type(error).__name__)
                return Ending("failed", f"dead: {type(error).__name__}")
            log.warning("turn.undeliverable", turn=turn.turn_id, error=str(error))
            age_s = self._clock() - turn.last.accepted_at
            if isinstance(error, DeliveryError) and error.retryable and age_s < _GIVE_UP_AFTER_S:
                return None
            return Ending("failed", f"delivery: {type(error).__name__}")
        return ending

    async def _result(
        self, turn: _RunningTurn, adapter: ChatAdapter, reply: ReplyStream
    ) -> tuple[Ending, dict[int, bytes]]:
        """The end state and the parts still to send; a dead worker's are taken over."""
        if turn.claim.ending is not None:
            return decode_ending(turn.claim.ending), turn.claim.outbox
        outcome = await self._outcome(turn, adapter, reply)
        return await self._store(turn, adapter, outcome)

    async def _open(self, turn: _RunningTurn, reply: ReplyStream) -> None:
        """The first visible sign, beside the work; its id is kept for a successor."""
        known = turn.claim.notes.get("placeholder")
        placeholder = await reply.open(known.decode() if known else None)
        self._metrics.first_sign(self._clock() - turn.last.accepted_at)
        if known is None:
            await self._ledger.note(turn.claim.lease, "placeholder", placeholder)

    async def _store(
        self, turn: _RunningTurn, adapter: ChatAdapter, outcome: Outcome
    ) -> tuple[Ending, dict[int, bytes]]:
        """P7: from here on the reply is delivered, whatever dies."""
        parts = final_parts(
            outcome.text,
            outcome.notes,
            part_chars=adapter.limits.part_chars,
            max_parts=self._max_parts,
        )
        outbox = {index: part.encode() for index, part in enumerate(parts)}
        await self._ledger.ready(
            turn.claim.lease,
            ending=encode(outcome.ending),
            parts=list(outbox.values()),
            memory=[encode_turn(entry) for entry in outcome.memory],
        )
        return outcome.ending, outbox

    async def _deliver(
        self, turn: _RunningTurn, reply: ReplyStream, outbox: Mapping[int, bytes]
    ) -> None:
        """P8 and P9: each part once and in order; the last one is recorded by `close`."""
        for index, part in sorted(outbox.items()):
            await _send(reply, index, part.decode(), token=part_token(turn.turn_id, index))
            if index != max(outbox):
                await self._ledger.sent(turn.claim.lease, index)

    async def _outcome(
        self, turn: _RunningTurn, adapter: ChatAdapter, reply: ReplyStream
    ) -> Outcome:
        if turn.claim.deaths > self._max_deaths:
            return turn.failed("crashed every worker that tried it")
        try:
            if command := self._commands.parse(turn.text):
                text = await self._commands.run(turn.claim.lease.key, *command)
                return Outcome(Ending("answered", "command"), text)
            growing = GrowingReply(reply)
            try:
                return await self._plan(turn, adapter, growing)
            finally:
                growing.settled()
        except (StoreError, AdapterError):
            raise
        except Exception as error:
            log.exception("turn.crashed", turn=turn.turn_id, error=type(error).__name__)
            return turn.failed(type(error).__name__)

    async def _plan(
        self, turn: _RunningTurn, adapter: ChatAdapter, growing: GrowingReply
    ) -> Outcome:
        turn.terms = Terms(
            turn.claim.pins.get("vision"),
            await self._is_local_only(turn),
            self._budget.allowance(turn.claim.lease.key, turn.last.principal),
            growing.waiting,
        )
        read = await self._attachments.read(
            adapter,
            turn.claim.lease.key,
            [each for event in turn.events for each in event.message.attachments],
            label=turn.label,
            terms=turn.terms,
            show=growing.activity,
        )
        question = turn.question(read)
        if not question.parts:
            said = " ".join(read.refusals) or "Your message was empty. What can I do for you?"
            return Outcome(Ending("refused", "nothing to answer"), said)
        task = self._task(turn, question)
        ended = await self._follow(turn, task, growing)
        told = turn.claim.pins.get(TOLD, "")
        switch, now_told = switch_note(ended, told)
        if now_told != told:
            await self._ledger.pin(turn.claim.lease.key, TOLD, now_told or None)
        text = ended.text
        if ended.state != "answered":
            text = f"{text} (turn {turn.turn_id}){_seen(read)}"
        return Outcome(
            Ending(ended.state, ended.reason),
            text,
            (*read.refusals, *ended.notes, *filter(None, (switch,))),
            (question, *ended.turns),
        )

    async def _is_local_only(self, turn: _RunningTurn) -> bool:
        """Decided before any model is asked; who speaks once binds what others say later."""
        key, pins = turn.claim.lease.key, turn.claim.pins
        user_id = turn.last.principal.user_id
        if self._local_only.names(user_id) and not self._local_only.is_ruled(key, pins):
            await self._ledger.pin(key, PRIVATE_BY, user_id)
        return self._local_only(key, pins, user_id)

    async def _follow(self, turn: _RunningTurn, task: PlanTask, growing: GrowingReply) -> PlanEnded:
        """Store every step before the plan goes on, and show it."""
        lease, held = turn.claim.lease, list[bytes]()
        async with aclosing(self._planner.run(task)) as events:
            async for event in events:
                match event:
                    case AnswerDelta():
                        growing.add_text(event.text)
                    case StepPlanned():
                        growing.planned(event)
                        held.append(encode(event))
                        if self._planner.has_effect(event.calls):
                            await self._ledger.add_steps(lease, held)
                            held.clear()
                    case CallsReturned():
                        growing.returned(event)
                        self._metrics.tools_called(event.results)
                        # Pure reads may be planned anew, so plan and results travel together.
                        await self._ledger.add_steps(lease, [*held, encode(event)])
                        held.clear()
                    case Waiting():
                        growing.waiting(event.position)
                    case RouteSwitched():
                        log.info(
                            "route.switched", role=event.role, to=event.to_route, why=event.reason
                        )
                    case PlanEnded():
                        self._metrics.tokens(event.route, event.usage)
                        turn.usage = event.usage
                        return event
        raise RuntimeError("the plan ended without its last event")

    def _task(self, turn: _RunningTurn, question: Turn) -> PlanTask:
        history = decode_turns(turn.claim.memory)
        key = turn.claim.lease.key
        images = [image for entry in (*history, question) for image in entry.images]

        async def search(query: str, limit: int) -> list[Found]:
            return list(await self._memory.search(key, query, limit))

        async def look(image: int, question: str) -> Seen:
            return await self._attachments.look(key, images, image, question, terms=turn.terms)

        def context_for(call: ToolCall) -> ToolContext:
            return ToolContext(
                principal=turn.last.principal,
                place=turn.last.place,
                conversation=key,
                call_key=f"{turn.turn_id}:{call.call_id}",
                now=lambda: datetime.fromtimestamp(self._clock(), UTC),
                search=search,
                look=look,
            )

        return PlanTask(
            conversation=key,
            principal=turn.last.principal,
            place=turn.last.place,
            history=history,
            question=question,
            pin=turn.claim.pins.get("planner"),
            local_only=turn.terms.local_only,
            allowance=turn.terms.allowance,
            turn_id=turn.turn_id,
            now=datetime.fromtimestamp(self._clock(), UTC),
            context_for=context_for,
            resume=tuple(decode_step(record) for record in turn.claim.steps),
        )


class _RunningTurn:
    """A claim with its events read; the newest event is the one replied to."""

    def __init__(self, claim: Claim, events: list[Event]) -> None:
        self.claim, self.events = claim, events
        self.last = events[-1]
        self.turn_id = turn_id_of(claim.lease.key.tenant, events[0].message.event_id)
        self.text = "\n".join(filter(None, (event.message.text.strip() for event in events)))
        self.label = join_labels(event.label for event in events)
        self.terms = Terms()
        self.usage = Usage()

    def question(self, read: ReadAttachments) -> Turn:
        parts: list[Part] = [Text(self.text)] if self.text else []
        label = self.label.lowered_to(Integrity.UNTRUSTED) if read.images else self.label
        said_at = self.last.message.sent_at
        return Turn("user", (*parts, *read.images), label, said_at, self.turn_id)

    def failed(self, reason: str) -> Outcome:
        text = (
            "Something went wrong on my side and I could not answer this. Please try again; "
            f"if it happens again, tell my operator the turn id {self.turn_id}."
        )
        return Outcome(Ending("failed", reason), text)


def _seen(read: ReadAttachments) -> str:
    """What vision found, for a person whose question about it could not be answered."""
    found = [f"{image.name or 'The image'}: {image.seen}" for image in read.images if image.seen]
    return "".join(f"\n\n{text}" for text in found)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _send(reply: ReplyStream, index: int, text: str, *, token: str) -> None:
    for attempt in range(1, _SEND_TRIES + 1):
        try:
            await reply.deliver(index, text, token=token)
        except DeliveryError as error:
            if not error.retryable or attempt == _SEND_TRIES:
                raise
            await asyncio.sleep(2.0**attempt)
        else:
            return


async def notify(adapter: ChatAdapter, message: Message, sentence: str) -> None:
    """One sentence outside of any turn; if it can't be delivered, nothing is lost."""
    try:
        reply = adapter.reply(message)
        try:
            await reply.open(None)
            await reply.deliver(0, sentence, token=part_token(message.event_id, 0))
        finally:
            await reply.aclose()
    except AdapterError as error:
        log.warning("notice.undeliverable", adapter=adapter.name, error=str(error))
    except Exception as error:  # a lane of its own: it must not take the bot along
        log.exception("notice.failed", adapter=adapter.name, error=type(error).__name__)
