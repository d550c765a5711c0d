"""Claims whose events can't be read, and turns that are given up: what becomes a dead letter."""

from __future__ import annotations

import structlog

from adapters.stores.claim import Claim
from adapters.stores.dead import DeadLetter
from adapters.stores.errors import READ_ERRORS
from bot.hold import Hold
from bot.records import NEWEST_FORMAT, Ending, Event, decode_event, encode, newer_since
from bot.running import RunningTurn

log = structlog.get_logger(__name__)

UNREADABLE = "unreadable event"


def opened(hold: Hold) -> tuple[RunningTurn | None, float]:
    """The turn of a claim, made of the events that can be read; None when none can.

    Beside it when the newest event of a newer format was accepted, epoch seconds, else 0.
    """
    events: list[Event] = []
    ids: list[str] = []
    bad: list[tuple[str, bytes]] = []
    newer = 0.0
    claim = hold.claim
    for event_id, record in zip(claim.event_ids, claim.events, strict=True):
        try:
            events.append(decode_event(record))
            ids.append(event_id)
        except READ_ERRORS as error:
            bad.append((event_id, record))
            if at := newer_since(record):
                newer = max(newer, at)
                log.warning("store.newer_record", format_known=NEWEST_FORMAT, size=len(record))
            else:
                log.error("store.bad_record", error=type(error).__name__, size=len(record))
    turn = RunningTurn(hold, events, ids, unreadable=tuple(bad)) if events else None
    return turn, newer


def unreadable_letter(claim: Claim, now: float) -> bytes:
    """Nobody can be told: who asked is in the record that can't be read."""
    return encode(DeadLetter(claim.events, claim.event_ids, UNREADABLE, claim.deaths, now))


def letter_of(turn: RunningTurn, ending: Ending, *, max_deaths: int, now: float) -> bytes:
    """What of a closing turn must be kept for the operator; empty when nothing."""
    claim = turn.claim
    if claim.deaths > max_deaths and ending.state == "failed":
        log.error("turn.dead", turn=turn.turn_id, deaths=claim.deaths)
        return encode(DeadLetter(claim.events, claim.event_ids, ending.reason, claim.deaths, now))
    if turn.unreadable:
        ids, records = zip(*turn.unreadable, strict=True)
        return encode(DeadLetter(records, ids, UNREADABLE, claim.deaths, now))
    return b""
