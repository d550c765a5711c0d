"""What goes into the audit log: every call that is more than a read, every card, every press."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from adapters.stores.journal import Journal, JournalEntry, Judged, hash_of
from agents.events import StepPlanned, Wanted
from bot.running import RunningTurn
from tools.contract import ToolCall
from tools.identity import ConversationKey
from tools.rules import Decision


class Recorder:
    """Raises `StoreUnavailable`: what can't be recorded is not done."""

    def __init__(self, journal: Journal, *, clock: Callable[[], float] = time.time) -> None:
        self._journal, self._clock = journal, clock

    async def calls(self, turn: RunningTurn, planned: StepPlanned) -> None:
        """Before they are made."""
        await self._append(turn, "calls", calls=_judged(planned))

    async def asked(self, turn: RunningTurn, wanted: Wanted) -> None:
        sources = tuple(map(hash_of, wanted.sources))
        await self._append(turn, "asked", calls=_judged(wanted.planned), sources=sources)

    async def ended(self, turn: RunningTurn, outcome: str) -> None:
        await self._append(turn, "turn", outcome=outcome)

    async def pressed(
        self, key: ConversationKey, event_id: str, *, user_id: str, choice: str, held: str
    ) -> None:
        """`held` is the choice that counts, or why none does."""
        kind: Literal["pressed", "refused"] = "pressed" if held == choice else "refused"
        entry = JournalEntry(
            kind, self._clock(), event_id, user_id, str(key), outcome=f"{choice}: {held}"
        )
        await self._journal.append(key.tenant, entry)

    async def _append(self, turn: RunningTurn, kind: str, **more: object) -> None:
        told = {
            "kind": kind,
            "at": self._clock(),
            "turn_id": turn.turn_id,
            "who": turn.last.principal.user_id,
            "where": str(turn.claim.lease.key),
            "asked": hash_of(turn.text),
            **more,
        }
        entry = msgspec.convert(told, JournalEntry)
        await self._journal.append(turn.claim.lease.key.tenant, entry)


def _judged(planned: StepPlanned) -> tuple[Judged, ...]:
    decisions: Iterable[Decision] = planned.decisions or [Decision("allow")] * len(planned.calls)
    return tuple(
        Judged(call.name, _hash(call), decision.verdict, decision.rule, decision.reason)
        for call, decision in zip(planned.calls, decisions, strict=True)
    )


def _hash(call: ToolCall) -> str:
    told = [call.name, call.arguments]
    return hash_of(msgspec.json.encode(told, order="deterministic"))
