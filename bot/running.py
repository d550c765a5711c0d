"""A turn in the making: the claim with its events read, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from adapters.chat.sentences import say
from adapters.chat.types import ReplyFile
from agents.ports import Usage
from agents.turns import Part, Quoted, Text, Turn
from bot.attachments import ReadAttachments, Terms
from bot.hold import Hold
from bot.knowledge import Found
from bot.recaps import Wish
from bot.records import Answered, Ending, Event, Last, turn_id_of
from tools.contract import Passage
from tools.labels import Integrity, join_labels


class Outcome(msgspec.Struct, frozen=True):
    """What a turn comes to, before any of it is stored or sent."""

    ending: Ending
    text: str
    notes: tuple[str, ...] = ()
    memory: tuple[Turn, ...] = ()
    files: tuple[ReplyFile, ...] = ()  # behind the text


class RunningTurn:
    """A claim with its events read; the newest event is the one replied to."""

    def __init__(
        self,
        hold: Hold,
        events: list[Event],
        event_ids: Sequence[str],
        *,
        unreadable: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        self.hold, self.claim = hold, hold.claim
        self.events, self.event_ids = events, tuple(event_ids)
        self.unreadable = unreadable  # (event id, record), set aside at the end
        self.last = events[-1]
        self.locale = self.last.message.locale  # of the bot's own sentences
        self.turn_id = turn_id_of(self.claim.lease.key.tenant, self.claim.event_ids[0])
        self.text = "\n".join(filter(None, (event.message.text.strip() for event in events)))
        self.label = join_labels(event.label for event in events)
        self.terms = Terms()
        self.usage = Usage()
        self.fill = 0.0  # see `PlanEnded.fill`
        self.is_command = False
        self.is_recorded = False  # the audit log has something of it, and so hears of its end
        self.passages: list[Passage] = []  # of documents, by the numbers the answer cites
        self.took: set[str] = set()  # of the day's limits, before anything was shown
        self.vectors: dict[int, tuple[float, ...]] = {}  # of the passages, by their numbers
        self.query = ""  # what was looked for in the documents
        self.looked_up: dict[str, Found] = {}  # by query
        self.found: Found | None = None  # what was looked up before anything was shown
        self.posted = dict(self.claim.posted)  # message ids of the parts that are out

    @property
    def placeholder(self) -> str | None:
        """The message that becomes the reply, if one is known: by an earlier process, or the
        reply that is to be replaced."""
        known = self.claim.notes.get("placeholder")
        if known is not None:
            return known.decode()
        replaced = self.last.replaces
        return replaced.message_ids[0] if replaced and replaced.message_ids else None

    @property
    def may_be_open(self) -> bool:
        """An earlier process may have shown something that nobody knows of."""
        return self.claim.deaths > 1

    def question(self, read: ReadAttachments) -> Turn:
        parts: list[Part] = [Text(self.text)] if self.text else []
        quotes = tuple(
            Quoted(quote.user_id, quote.text, quote.sent_at)
            for event in self.events
            for quote in event.message.quotes
        )
        of_others = read.images or read.documents or quotes
        label = self.label.lowered_to(Integrity.UNTRUSTED) if of_others else self.label
        said_at = self.last.message.sent_at
        shown = (*parts, *read.images)
        return Turn("user", shown, label, said_at, self.turn_id, quotes, read.documents)

    def failed(self, reason: str) -> Outcome:
        text = say(
            self.locale,
            "Something went wrong on my side and I could not answer this. Please try again; "
            "if it happens again, tell my operator the turn id {turn_id}.",
            turn_id=self.turn_id,
        )
        return Outcome(Ending("failed", reason), text)

    def stopped(self, shown: str) -> Outcome:
        """What had been said when somebody stopped it, kept as it was shown."""
        text = say(self.locale, "Stopped.")
        if shown.strip():
            text = f"{shown.rstrip()}\n\n_{say(self.locale, '(stopped)')}_"
        said = (self.plain_question(), self.said(text))
        return Outcome(Ending("stopped", "by a person"), text, (), said)

    def plain_question(self) -> Turn:
        """What was asked, without what is attached."""
        return self.question(ReadAttachments())

    def said(self, text: str) -> Turn:
        """A sentence of the bot's own, for memory."""
        return Turn("assistant", (Text(text),), self.label, self.last.message.sent_at, self.turn_id)

    def recap_wish(self) -> Wish:
        """The conversation as this turn saw it, for who sums it up."""
        key, pin = self.claim.lease.key, self.claim.pins.get("planner")
        return Wish(key, self.last.principal.user_id, self.terms, pin, self.fill)

    @property
    def message_ids(self) -> tuple[str, ...]:
        return tuple(message_id for _, message_id in sorted(self.posted.items()))

    @property
    def found_by(self) -> tuple[str, ...]:
        """The ids that its events would have had as turns of their own, and those of what it
        replaces: whichever of them is deleted finds this answer."""
        tenant, replaced = self.claim.lease.key.tenant, self.last.replaces
        own = (turn_id_of(tenant, event_id) for event_id in self.event_ids)
        return (*own, *(replaced.found_by if replaced else ()))

    def answered(self) -> Answered:
        return Answered(self.turn_id, self.message_ids, self.found_by)

    def as_last(self) -> Last:
        events, ids = tuple(self.events), self.message_ids
        return Last(self.turn_id, self.event_ids, events, ids, self.found_by)
