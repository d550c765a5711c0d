"""Where every adapter's events come in: the gate, then the ledger, then the doorbell.

What changes an earlier event (an edit, a deletion, a button) finds its conversation by what the
ledger remembers of that event, never by what the platform or the button says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from adapters.chat.sentences import mark, say
from adapters.chat.types import Command, Message, NotAccepted, Press, Receipt
from adapters.stores.approvals import Choice
from adapters.stores.changes import Change, Changes, Heard
from adapters.stores.errors import StoreUnavailable
from adapters.stores.ledger import Acceptance
from bot.admission import Admitted, Asker, Denied, Gate
from bot.approvals import CHOICES, DECIDED, NOT_YOURS, NOTHING_OPEN, TOLD, Approvals
from bot.commands import AGAIN, AGAIN_TOLD, DONE, NOTHING, STOP, Commands
from bot.follow_ups import asked_again, erasing, read_answered, read_last
from bot.hand_overs import HandOvers
from bot.health import Metrics
from bot.languages import Languages
from bot.line import Line
from bot.questions import is_question
from bot.ratings import Ratings
from bot.records import Event, encode, turn_id_of
from bot.reminders import Reminders
from bot.tidying import tidied
from tools.identity import ConversationKey, Principal
from tools.labels import label_of

log = structlog.get_logger(__name__)

NOT_ALLOWED = mark("You are not allowed to use this bot here. Ask its operator.")
BUSY = mark("I am still busy with your earlier messages here; please send this one again later.")
_BUSY_AGAIN_S = 60.0
_BUSY_KEPT = 10_000
_BAD_ANSWERS = 2  # of one conversation: then a person of the team is called, where there is one
_RECEIPTS = {
    Acceptance.ACCEPTED: Receipt.ACCEPTED,
    Acceptance.KNOWN: Receipt.DUPLICATE,
    Acceptance.FULL: Receipt.FULL,
}
_AT_ONCE = {(name, "") for name in (STOP, AGAIN, *CHOICES)}
TOO_OLD = mark("That is too long ago.")
NOTHING_TO_STOP = mark("There is nothing to stop any more.")
NOT_THE_LAST = mark("Only the newest answer here can be given anew.")
STORE_DOWN = mark("My memory is not reachable just now; please try again in a minute.")


class BotInbox:
    """Implements `adapters.chat.types.Inbox`."""

    def __init__(
        self,
        gate: Gate,
        line: Line,
        changes: Changes,
        commands: Commands,
        ratings: Ratings,
        languages: Languages,
        approvals: Approvals,
        hand_overs: HandOvers,
        reminders: Reminders,
        metrics: Metrics,
        *,
        max_chars: int,
        notify: Callable[[Message, str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._gate, self._line, self._changes = gate, line, changes
        self._commands, self._metrics, self._ratings = commands, metrics, ratings
        self._languages, self._approvals = languages, approvals
        self._hand_overs, self._reminders = hand_overs, reminders
        self._max_chars, self._notify, self._clock = max_chars, notify, clock
        self._told_busy: dict[str, float] = {}
        self._closed = False

    def close(self) -> None:
        """Take nothing more: the platform delivers it to the next process."""
        self._closed = True

    async def accept(self, message: Message) -> Receipt:
        """P1, before the platform gets its ack; see the protocol for the contract."""
        verdict = self._gate.admit(message.conversation, message.author)
        if isinstance(verdict, Denied):
            self._denied(message.adapter, verdict)
            return Receipt.DENIED
        if message.addressing == "overheard" and not is_question(message.text):
            return Receipt.DENIED  # said into the room, and to nobody: it is not even stored
        if self._closed:
            raise NotAccepted("this process is stopping")
        message = self._tidied(message)
        try:
            message = await self._at_once(message, verdict)
            accepted = await self._store(self._event(message, verdict))
        except StoreUnavailable as error:
            raise NotAccepted(str(error)) from error
        if accepted is Acceptance.FULL:
            log.warning("inbox.line_full", adapter=message.adapter)
            if message.addressing not in ("command", "overheard"):  # told at once, or never
                self._say_busy(message)
        return _RECEIPTS[accepted]

    async def _at_once(self, message: Message, verdict: Admitted) -> Message:
        """A typed command whose own turn would come too late does its work here; the turn tells
        what came of it."""
        command = self._commands.parse(message.text)
        if command not in _AT_ONCE or await self._is_known(message):
            return message
        if command == (STOP, ""):
            key, author = message.conversation, message.author.user_id
            stopped = await self._changes.stop(key, author=author)
            return msgspec.structs.replace(message, text=f"!{STOP} {DONE if stopped else NOTHING}")
        if command == (AGAIN, ""):
            excuse = await self._again(message.conversation, verdict, message.locale)
            return msgspec.structs.replace(message, text=f"!{AGAIN} {NOTHING if excuse else DONE}")
        choice = CHOICES[command[0]]
        excuse = await self._decided_newest(message.conversation, choice, verdict)
        return msgspec.structs.replace(message, text=f"!{choice} {NOTHING if excuse else DONE}")

    async def _is_known(self, message: Message) -> bool:
        """A command that is delivered again is not done again."""
        tenant = message.conversation.tenant
        return await self._changes.heard(tenant, message.event_id) is not None

    async def command(self, command: Command) -> str:
        verdict = self._gate.admit(command.conversation, command.author)
        locale = self._languages.of(command.locale, command.conversation)
        if isinstance(verdict, Denied):
            self._denied(command.adapter, verdict)
            return say(locale, NOT_ALLOWED)
        try:
            asker = Asker(verdict.principal, is_private=True, locale=locale)
            name, argument = command.name, command.argument
            if name == AGAIN:
                excuse = await self._again(command.conversation, verdict, locale)
                return say(locale, excuse or AGAIN_TOLD)
            if choice := CHOICES.get(name):
                excuse = await self._decided_newest(command.conversation, choice, verdict)
                return say(locale, excuse or TOLD[choice])
            return await self._commands.run(command.conversation, name, argument, asker)
        except StoreUnavailable:
            return say(locale, STORE_DOWN)

    async def suggest(self, command: Command) -> Sequence[str]:
        if isinstance(self._gate.admit(command.conversation, command.author), Denied):
            return ()  # told when they send it
        return self._commands.suggest(command.name, command.argument)

    async def revise(self, message: Message, *, edited_at: float) -> None:
        """An edit: in time, the new text is what is answered; later the answer stays."""
        if isinstance(verdict := self._gate.admit(message.conversation, message.author), Denied):
            self._denied(message.adapter, verdict)
            return
        try:
            heard = await self._changes.heard(message.conversation.tenant, message.event_id)
            if heard is None or heard.user_id != message.author.user_id:
                return
            message = msgspec.structs.replace(self._tidied(message), conversation=heard.key)
            event = self._event(message, verdict)
            record = encode(msgspec.structs.replace(event, accepted_at=edited_at))
            change = await self._changes.revise(heard.key, message.event_id, record)
        except StoreUnavailable as error:
            raise NotAccepted(str(error)) from error
        log.info("event.revised", adapter=message.adapter, came=change.name)

    async def retract(
        self, adapter: str, tenant: str, event_id: str, *, with_answer: bool = True
    ) -> None:
        """A deletion: nothing answers it any more, and what did is taken away."""
        try:
            heard = await self._changes.heard(tenant, event_id)
            if heard is None:
                await self._changes.bar(tenant, event_id)
                return
            await self._approvals.drop(heard.key, event_id, user_id=heard.user_id)
            turn_id = turn_id_of(tenant, event_id)
            await self._reminders.drop(tenant, turn_id)
            change = await self._changes.retract(heard.key, event_id, turn_id=turn_id)
            if (
                with_answer
                and change is Change.TOO_LATE
                and (answered := read_answered(await self._changes.answer(heard.key, turn_id)))
            ):
                now = self._clock()
                event = erasing(
                    heard.key, adapter=adapter, event_id=event_id, answered=answered, now=now
                )
                await self._store(event, is_heard=False)
        except StoreUnavailable as error:
            raise NotAccepted(str(error)) from error
        log.info("event.retracted", adapter=adapter, came=change.name)

    async def press(self, press: Press) -> str:
        """A button: only who asked may press it, where they asked; to rate is everyone's."""
        locale = self._languages.of(press.locale)
        try:
            heard = await self._changes.heard(press.tenant, press.event_id)
            if heard is None or press.channel not in (heard.key.channel, heard.key.thread):
                return say(locale, TOO_OLD)
            locale = self._languages.of(press.locale, heard.key)
            verdict = self._gate.admit(heard.key, press.author)
            if isinstance(verdict, Denied):
                self._denied(press.adapter, verdict)
                return say(locale, NOT_ALLOWED)
            return await self._pressed(press, heard, verdict, locale)
        except StoreUnavailable:
            return say(locale, STORE_DOWN)

    async def _pressed(self, press: Press, heard: Heard, verdict: Admitted, locale: str) -> str:
        who, event_id = press.author.user_id, press.event_id
        if press.kind in ("up", "down"):
            told = await self._ratings.rate(
                heard.key, event_id, press.kind, user_id=who, locale=locale
            )
            is_theirs = press.kind == "down" and heard.user_id == who
            if is_theirs and await self._ratings.bad_here(heard.key, who) >= _BAD_ANSWERS:
                asker = Asker(verdict.principal, is_private=True, locale=locale)
                return await self._hand_overs.after_bad_answers(heard.key, asker) or told
            return told
        if press.kind == "resolve":  # everyone's who reads what the team reads
            return await self._hand_overs.resolve(heard.key.tenant, event_id, locale)
        if choice := CHOICES.get(press.kind):
            excuse = await self._decided(
                heard.key, event_id, choice, asker=heard.user_id, person=verdict.principal
            )
            return say(locale, excuse) if excuse else ""
        if heard.user_id != who:
            return say(locale, NOT_YOURS)
        if press.kind == "stop":
            stopped = await self._changes.stop(heard.key, event_id)
            return "" if stopped else say(locale, NOTHING_TO_STOP)
        excuse = await self._again(heard.key, verdict, locale, event_id=event_id)
        return say(locale, excuse) if excuse else ""

    async def marks(self, tenant: str) -> Mapping[str, float]:
        try:
            return await self._changes.marks(tenant)
        except StoreUnavailable as error:
            raise NotAccepted(str(error)) from error

    async def _again(
        self, key: ConversationKey, verdict: Admitted, locale: str, *, event_id: str | None = None
    ) -> str:
        """The last question once more, its reply in the place of the old one.

        Only for who asked it, and of `event_id` only while that is the last one.
        """
        last = read_last(await self._changes.last(key))
        if last is None or (event_id is not None and event_id not in last.event_ids):
            return NOT_THE_LAST
        if last.events[-1].principal.user_id != verdict.principal.user_id:
            return NOT_YOURS
        message, old = asked_again(last)
        message = msgspec.structs.replace(message, locale=locale)
        event = msgspec.structs.replace(self._event(message, verdict), replaces=old)
        accepted = await self._store(event, is_heard=False)
        return BUSY if accepted is Acceptance.FULL else ""

    async def _decided_newest(self, key: ConversationKey, choice: Choice, verdict: Admitted) -> str:
        """Decide what waits for who says so here; returns why nothing could be decided."""
        waiting = await self._approvals.newest(key, verdict.principal.user_id)
        if waiting is None:
            return NOTHING_OPEN
        where, event_id = waiting
        heard = await self._changes.heard(where.tenant, event_id)
        asker = heard.user_id if heard is not None else ""
        excuse = await self._decided(where, event_id, choice, asker=asker, person=verdict.principal)
        return NOTHING_OPEN if excuse == NOT_YOURS else excuse

    async def _decided(
        self, key: ConversationKey, event_id: str, choice: Choice, *, asker: str, person: Principal
    ) -> str:
        excuse, event = await self._approvals.decide(
            key, event_id, choice, asker=asker, person=person
        )
        if event is None:
            return excuse
        accepted = await self._store(event, is_heard=False)
        if accepted is Acceptance.FULL:
            return BUSY
        return DECIDED if accepted is Acceptance.KNOWN else ""

    def _event(self, message: Message, verdict: Admitted) -> Event:
        label = label_of(verdict.place, verdict.principal)
        return Event(message, verdict.principal, verdict.place, label, self._clock())

    async def _store(self, event: Event, *, is_heard: bool = True) -> Acceptance:
        is_command = self._commands.parse(event.message.text) is not None
        return await self._line.put(event, is_heard=is_heard, is_command=is_command)

    def _say_busy(self, message: Message) -> None:
        """One notice a minute for a conversation, beside the ack and not before it."""
        now, key = self._clock(), str(message.conversation)
        if now - self._told_busy.get(key, 0.0) < _BUSY_AGAIN_S:
            return
        if len(self._told_busy) > _BUSY_KEPT:
            self._told_busy.clear()
        self._told_busy[key] = now
        self._notify(message, say(message.locale, BUSY))

    def _tidied(self, message: Message) -> Message:
        locale = self._languages.of(message.locale, message.conversation)
        return tidied(message, max_chars=self._max_chars, locale=locale)

    def _denied(self, adapter: str, verdict: Denied) -> None:
        self._metrics.denied(adapter)
        log.info("admission.denied", adapter=adapter, reason=verdict.reason)
