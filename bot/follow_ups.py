"""Events that follow from a closed turn: answer it anew, or take its answer away."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
import structlog

from adapters.chat.types import Author, Message
from adapters.stores.errors import READ_ERRORS
from bot.records import Answered, Event, Last, decode_answered, decode_last
from tools.identity import ConversationKey, Place, Principal
from tools.labels import Label

_T = TypeVar("_T")
log = structlog.get_logger(__name__)


def read_last(record: bytes | None) -> Last | None:
    return _read(decode_last, record)


def read_answered(record: bytes | None) -> Answered | None:
    return _read(decode_answered, record)


def _read(decode: Callable[[bytes], _T], record: bytes | None) -> _T | None:
    """What is kept of a closed turn; None when nothing is, or nothing that can be read."""
    try:
        return None if record is None else decode(record)
    except READ_ERRORS as error:
        log.warning("store.bad_record", error=type(error).__name__, size=len(record or b""))
        return None


def asked_again(last: Last) -> tuple[Message, Answered]:
    """The question as one message under a new id, and the answer that it replaces.

    The id names the turn it repeats, so that pressing twice asks once.
    """
    asked = [event.message for event in last.events]
    message = msgspec.structs.replace(
        asked[-1],
        event_id=f"{asked[-1].event_id.partition('!')[0]}!{last.turn_id}",
        text="\n".join(filter(None, (each.text for each in asked))),
        attachments=tuple(file for each in asked for file in each.attachments),
        quotes=tuple(quote for each in asked for quote in each.quotes),
    )
    return message, Answered(last.turn_id, last.message_ids, last.found_by)


def erasing(
    key: ConversationKey, *, adapter: str, event_id: str, answered: Answered, now: float
) -> Event:
    """Taking an answer away is work like answering: stored, and done by a worker."""
    message = Message(
        f"{event_id}!erased", adapter, key, Author("", "bot"), "", now, event_id, "dm"
    )
    return Event(
        message,
        Principal(key.tenant, "", "bot"),
        Place.of(key),
        Label(),
        now,
        erases=answered,
    )
