"""What needs a person's press: asked for in a card, decided once, done exactly as it was shown.

No process waits for a press. The turn that wants something ends as "asked"; the press is an event
of its own, whose turn takes over what was planned and puts its answer in the card's place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec
import structlog

from adapters.chat.sentences import mark, say
from adapters.stores.approvals import Choice, RedisApprovals
from adapters.stores.changes import Changes
from adapters.stores.errors import READ_ERRORS
from agents.events import StepPlanned, Wanted
from agents.turns import Turn
from bot.cards import MOST_CHARS, CardTooLong, card_of
from bot.cards import TOO_LONG as CARD_TOO_LONG
from bot.follow_ups import read_answered
from bot.recording import Recorder
from bot.records import Answered, Event, Pressed, Step, encode
from bot.running import RunningTurn
from tools.identity import ConversationKey, Principal
from tools.rules import hash_of

log = structlog.get_logger(__name__)

OPEN_S = 10 * 60.0  # how long a press is waited for (reliability §3.6)
_ACT_WITHIN_S = 15 * 60.0  # after the card: a bot that was away does not act on an old press
_CARD_TRIES, _CARD_PAUSE_S = 10, 0.2  # until the turn of a card just shown has closed

TOO_MANY = mark(
    "Three requests of mine wait for you already. Decide those first, then ask me again."
)
EXPIRED = mark("That request has expired. Nothing was done; ask again if you still want it.")
DECIDED = mark("That was decided already.")
NOT_YOURS = mark("Only who asked can do that.")
NOTHING_OPEN = mark("Nothing waits for you here.")
REFUSED = mark("You refused, so nothing was done.")
APPROVED = mark("Approved; I am doing it now.")
CHANGED = mark("What was to be done is not what you agreed to, so nothing was done. Ask again.")
NO_LONGER = mark("You may not ask for that here any more, so nothing was done.")


CHOICES: Mapping[str, Choice] = {"approve": "approve", "deny": "deny"}
TOLD: Mapping[Choice, str] = {"approve": APPROVED, "deny": REFUSED}


class Approval(msgspec.Struct, frozen=True):
    """One step that waits, and all it takes to go on with it."""

    turn_id: str
    events: tuple[Event, ...]
    question: Turn
    planned: StepPlanned
    made: tuple[Step, ...]
    calls_hash: str  # of the calls as the card showed them
    asked_at: float  # epoch seconds
    format: Literal[1] = 1


_decoder = msgspec.json.Decoder(Approval)


class Refusal(Exception):
    """What was pressed is not done; the message is one of the sentences here."""


class Approvals:
    """Asks, and reads what was decided. Raises `StoreUnavailable`."""

    def __init__(
        self,
        store: RedisApprovals,
        changes: Changes,
        recorder: Recorder,
        *,
        approvers: Callable[[Iterable[str]], frozenset[str] | None] = lambda tools: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._changes, self._clock = store, changes, clock
        self._recorder, self._approvers = recorder, approvers

    async def ask(self, turn: RunningTurn, question: Turn, wanted: Wanted) -> str:
        """Keep the step and return its card; raises `Refusal` when it can't be asked for."""
        try:
            card = card_of(
                wanted,
                minutes=int(OPEN_S // 60),
                locale=turn.locale,
                approvers=self._approvers(call.name for call in wanted.planned.calls),
            )
        except CardTooLong as error:
            raise Refusal(
                say(turn.locale, CARD_TOO_LONG, chars=error.chars, most=MOST_CHARS)
            ) from None
        approval = Approval(
            turn.turn_id,
            tuple(turn.events),
            question,
            wanted.planned,
            wanted.made,
            hash_of(wanted.planned.calls),
            self._clock(),
        )
        kept = await self._store.ask(
            turn.claim.lease.key,
            turn.last.message.event_id,
            user_id=turn.last.principal.user_id,
            record=encode(approval),
            open_s=OPEN_S,
        )
        if not kept:
            raise Refusal(say(turn.locale, TOO_MANY))
        log.info("approval.asked", turn=turn.turn_id, calls=len(wanted.planned.calls))
        return card

    async def decide(
        self, key: ConversationKey, event_id: str, choice: Choice, *, asker: str, person: Principal
    ) -> tuple[str, Event | None]:
        """A sentence for who pressed, and the event to store when the choice holds.

        `asker` is whose question it is. The same choice pressed again gives the same event, which
        the ledger knows.
        """
        approval = await self._read(key, event_id)
        if not self._may_decide(approval, choice, asker, person):
            await self._recorder.pressed(
                key, event_id, user_id=person.user_id, choice=choice, held="not theirs"
            )
            return NOT_YOURS, None
        held = await self._store.decide(key, event_id, choice, user_id=asker)
        log.info("approval.pressed", choice=choice, held=held)
        await self._recorder.pressed(
            key, event_id, user_id=person.user_id, choice=choice, held=held
        )
        if held != choice:
            return EXPIRED if held in ("late", "gone") else DECIDED, None
        if approval is None:
            return EXPIRED, None
        return "", await self._event(key, event_id, approval, choice)

    def _may_decide(
        self, approval: Approval | None, choice: Choice, asker: str, person: Principal
    ) -> bool:
        """Who asked, unless the operator named approvers; what they asked they may always refuse.

        An approver is a member: never a bot, a guest, or somebody of another organisation.
        """
        is_theirs = person.user_id == asker
        tools = [call.name for call in approval.planned.calls] if approval else []
        named = self._approvers(tools)
        if named is None or (is_theirs and choice == "deny"):
            return is_theirs
        return person.user_id in named and person.kind in ("member", "operator")

    async def drop(self, key: ConversationKey, event_id: str, *, user_id: str) -> None:
        """The question is gone, and with it what was asked for because of it."""
        await self._store.drop(key, event_id, user_id=user_id)

    async def newest(
        self, key: ConversationKey, user_id: str
    ) -> tuple[ConversationKey, str] | None:
        """What waits for this person here; a command in a channel speaks for its threads too.

        Else what waits here for anybody: they may be one of its approvers.
        """
        for found in await self._store.open_for(key.tenant, user_id):
            if found.key == key or (key.thread is None and found.key.channel == key.channel):
                return found.key, found.event_id
        waiting = await self._store.open_in(key)
        return (key, waiting) if waiting is not None else None

    async def agreed(self, turn: RunningTurn, pressed: Pressed) -> Approval:
        """What exactly was agreed to; raises `Refusal` for what may not be done any more."""
        key = turn.claim.lease.key
        kept = await self._store.read(key, pressed.event_id)
        approval = _decoded(kept.record) if kept else None
        if kept is None or approval is None or kept.choice != pressed.choice:
            raise Refusal(say(turn.locale, EXPIRED))
        if pressed.choice == "deny":
            raise Refusal(say(turn.locale, REFUSED))
        if self._clock() - approval.asked_at > _ACT_WITHIN_S:
            raise Refusal(say(turn.locale, EXPIRED))
        if hash_of(approval.planned.calls) != approval.calls_hash:
            log.error("approval.changed", turn=turn.turn_id)
            raise Refusal(say(turn.locale, CHANGED))
        if approval.events[-1].principal != turn.last.principal:
            raise Refusal(say(turn.locale, NO_LONGER))
        return approval

    async def _read(self, key: ConversationKey, event_id: str) -> Approval | None:
        kept = await self._store.read(key, event_id)
        return _decoded(kept.record) if kept else None

    async def _event(
        self, key: ConversationKey, event_id: str, approval: Approval, choice: Choice
    ) -> Event:
        """The question once more, under an id of its own; its reply takes the card's place."""
        last = approval.events[-1]
        message = msgspec.structs.replace(
            last.message,
            event_id=f"{last.message.event_id.partition('!')[0]}!{approval.turn_id}.{choice}",
            text="\n".join(filter(None, (each.message.text for each in approval.events))),
            attachments=(),
            quotes=(),
        )
        return msgspec.structs.replace(
            last,
            message=message,
            accepted_at=self._clock(),
            replaces=await self._card(key, approval.turn_id),
            erases=None,
            pressed=Pressed(event_id, choice),
        )

    async def _card(self, key: ConversationKey, turn_id: str) -> Answered | None:
        """Where the card stands; a press may come before its turn has closed."""
        for n in range(_CARD_TRIES):
            if (found := read_answered(await self._changes.answer(key, turn_id))) is not None:
                return found
            if n + 1 < _CARD_TRIES:
                await asyncio.sleep(_CARD_PAUSE_S)
        return None


def _decoded(record: bytes) -> Approval | None:
    try:
        return _decoder.decode(record)
    except READ_ERRORS as error:
        log.error("store.bad_record", error=type(error).__name__, size=len(record))
        return None
