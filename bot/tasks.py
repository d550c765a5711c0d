"""From a turn's question to the task of a plan: all that it may be answered from."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

import structlog

from adapters.stores.facts import UserFacts
from adapters.stores.memory import RedisMemory, UnknownFormat, decode_summary, decode_turns
from agents.planner import PlanTask
from agents.summary import Summary, flowing
from agents.turns import Turn
from bot.attachments import AttachmentReader
from bot.hand_overs import HandOvers
from bot.memory_commands import about
from bot.records import decode_step
from bot.reminders import Reminders
from bot.running import RunningTurn
from bot.support import Support
from tools.contract import Found, Opened, Seen, ToolCall, ToolContext
from tools.labels import Label, audience_of

log = structlog.get_logger(__name__)


class Tasks:
    """Builds them; what the tools of a turn may do is bound to it here."""

    def __init__(
        self,
        *,
        memory: RedisMemory,
        attachments: AttachmentReader,
        reminders: Reminders,
        hand_overs: HandOvers,
        support: Support | None,
        persona_of: Callable[[str], str] = lambda channel: "",
        zone_of: Callable[[str], tzinfo] = lambda channel: UTC,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._memory, self._attachments, self._support = memory, attachments, support
        self._reminders, self._hand_overs = reminders, hand_overs
        self._zone_of, self._persona_of, self._clock = zone_of, persona_of, clock

    def build(self, turn: RunningTurn, question: Turn, known: UserFacts) -> PlanTask:
        key, audience = turn.claim.lease.key, audience_of(turn.last.place, turn.last.principal)
        summary = _summary(turn, audience)
        history = _history(turn, audience)
        told, told_label = about(known, turn.last.place, audience)
        images = [image for entry in (*history, question) for image in entry.images]
        # The newest turn's first, as its prompt numbers them.
        documents = [each for entry in (question, *reversed(history)) for each in entry.documents]

        async def search(query: str, limit: int) -> list[Found]:
            return list(await self._memory.search(key, query, limit, audience=audience))

        async def look(image: int, question: str) -> Seen:
            return await self._attachments.look(key, images, image, question, terms=turn.terms)

        async def open_document(document: int) -> Opened:
            return await self._attachments.opened(key, documents, document)

        def context_for(call: ToolCall) -> ToolContext:
            return ToolContext(
                principal=turn.last.principal,
                place=turn.last.place,
                conversation=key,
                call_key=f"{turn.turn_id}:{call.call_id}",
                now=lambda: datetime.fromtimestamp(self._clock(), UTC),
                search=search,
                look=look,
                open_document=open_document,
                remind=self._reminders.setter(turn, f"{turn.turn_id}.{call.call_id}"),
                hand_over=self._hand_overs.caller(turn),
                knowledge=self._support.searcher(turn) if self._support else None,
                zone=self._zone_of(key.channel),
            )

        return PlanTask(
            conversation=key,
            principal=turn.last.principal,
            place=turn.last.place,
            history=history,
            question=question,
            persona=self._persona_of(key.channel),
            pin=turn.claim.pins.get("planner"),
            local_only=turn.terms.local_only,
            allowance=turn.terms.allowance,
            turn_id=turn.turn_id,
            now=datetime.fromtimestamp(self._clock(), UTC),
            context_for=context_for,
            summary=summary.text if summary else "",
            summary_label=summary.label if summary else Label(),
            about=told,
            about_label=told_label,
            resume=tuple(decode_step(record) for record in turn.claim.steps),
        )


def _history(turn: RunningTurn, audience: str) -> tuple[Turn, ...]:
    """What was said before and may be repeated here; an answer that is to be replaced was never
    given."""
    replaced = turn.last.replaces
    turns = decode_turns(turn.claim.memory)
    if replaced is not None:
        turns = tuple(each for each in turns if each.turn_id != replaced.turn_id)
    told = flowing(turns, audience)
    if len(told) < len(turns):
        log.info("memory.withheld", turn=turn.turn_id, entries=len(turns) - len(told))
    return told


def _summary(turn: RunningTurn, audience: str) -> Summary | None:
    try:
        summary = decode_summary(turn.claim.recap.record)
    except UnknownFormat:
        return None  # told by the reader, and left as it is
    if summary is not None and not summary.label.may_flow_to(audience):
        log.info("memory.withheld", turn=turn.turn_id, recap=True)
        return None
    return summary
