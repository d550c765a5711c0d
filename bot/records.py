"""What the bot writes into the ledger: JSON with a format number, read back with care."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from adapters.chat.types import Message
from adapters.stores.errors import READ_ERRORS
from agents.events import CallsReturned, StepPlanned
from agents.turns import EndState
from tools.identity import Place, Principal
from tools.labels import Label

NEWEST_FORMAT = 1
PART_TOKEN_CHARS = 25  # Discord's nonce holds no more


class Answered(msgspec.Struct, frozen=True):
    """Where the reply of a closed turn stands; `found_by` are the ids it is looked up with."""

    turn_id: str
    message_ids: tuple[str, ...]
    found_by: tuple[str, ...] = ()
    format: Literal[1] = 1


class Pressed(msgspec.Struct, frozen=True):
    """What a person decided about what the turn of `event_id` wants to do."""

    event_id: str
    choice: Literal["approve", "deny"]


class Says(msgspec.Struct, frozen=True):
    """Words of the bot's own, said without a model; a hand-over has its button under it."""

    kind: Literal["reminder", "notice", "hand_over"]
    text: str


class Event(msgspec.Struct, frozen=True):
    """An admitted message, with who said it and where as they were at admission."""

    message: Message
    principal: Principal
    place: Place
    label: Label
    accepted_at: float  # our clock, epoch seconds
    replaces: Answered | None = None  # the question is answered anew, in the place of this reply
    erases: Answered | None = None  # the question was deleted, so this reply goes too
    pressed: Pressed | None = None  # the question goes on, or ends, as somebody decided
    says: Says | None = None  # nobody asked: this is what the bot has to say
    format: Literal[1] = 1


class Ending(msgspec.Struct, frozen=True):
    """How the turn ended; written once, together with its parts."""

    state: EndState
    reason: str = ""
    format: Literal[1] = 1


class Last(msgspec.Struct, frozen=True):
    """What it takes to answer a conversation's newest question anew."""

    turn_id: str
    event_ids: tuple[str, ...]
    events: tuple[Event, ...]
    message_ids: tuple[str, ...]
    found_by: tuple[str, ...] = ()
    format: Literal[1] = 1


Step = StepPlanned | CallsReturned


class _Stamp(msgspec.Struct):
    """What every format of an event has had and will have."""

    format: int
    accepted_at: float


_stamps = msgspec.json.Decoder(_Stamp)
_encoder = msgspec.json.Encoder()
_events = msgspec.json.Decoder(Event)
_answers = msgspec.json.Decoder(Answered)
_lasts = msgspec.json.Decoder(Last)
_endings = msgspec.json.Decoder(Ending)
_steps: msgspec.json.Decoder[Step] = msgspec.json.Decoder(Step)

encode = _encoder.encode


def decode_event(record: bytes) -> Event:
    return _events.decode(record)


def decode_answered(record: bytes) -> Answered:
    return _answers.decode(record)


def decode_last(record: bytes) -> Last:
    return _lasts.decode(record)


def newer_since(record: bytes) -> float | None:
    """When an event of a newer format was accepted (epoch seconds); None for any other."""
    try:
        stamp = _stamps.decode(record)
    except READ_ERRORS:
        return None
    return stamp.accepted_at if stamp.format > NEWEST_FORMAT else None


def decode_ending(record: bytes) -> Ending:
    return _endings.decode(record)


def decode_step(record: bytes) -> Step:
    return _steps.decode(record)


def turn_id_of(tenant: str, event_id: str) -> str:
    """The turn's id: a hash of its first event, so every process gives it the same one."""
    return hashlib.blake2b(f"{len(tenant)}:{tenant}{event_id}".encode(), digest_size=6).hexdigest()


def part_token(turn_id: str, index: int) -> str:
    """The part's idempotency token."""
    digest = hashlib.blake2b(f"{turn_id}:{index}".encode(), digest_size=12).hexdigest()
    return digest[:PART_TOKEN_CHARS]
