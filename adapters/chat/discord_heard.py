"""What this process heard lately: for deletions and edits that do not say what they are about."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from adapters.chat.discord_spots import place_of_reply, spot_of
from adapters.chat.types import Message

REMEMBERED = 10_000


class _Spot(NamedTuple):
    place: int
    channel: int  # of a thread: the one it is in
    event_id: str


class Heard:
    """Bounded; what is forgotten is still told message by message."""

    def __init__(self) -> None:
        self._spots: OrderedDict[int, _Spot] = OrderedDict()
        self._edited: OrderedDict[int, float] = OrderedDict()

    def add(self, said: Message) -> None:
        _, message_id = spot_of(said)
        self._spots[message_id] = _Spot(
            place_of_reply(said), int(said.conversation.channel), said.event_id
        )
        if len(self._spots) > REMEMBERED:
            self._spots.popitem(last=False)

    def event_at(self, message_id: int) -> str:
        """The event of a message; that of a slash command has another id than its echo."""
        spot = self._spots.get(message_id)
        return str(message_id) if spot is None else spot.event_id

    def events_in(self, place: int) -> list[str]:
        """The events of a channel with its threads, or of one thread."""
        return [spot.event_id for spot in self._spots.values() if place in spot[:2]]

    def is_new_edit(self, message_id: int, edited_at: float) -> bool:
        """False for the preview of a link, which is told as an update with the old edit time."""
        if self._edited.get(message_id) == edited_at:
            return False
        self._edited[message_id] = edited_at
        if len(self._edited) > REMEMBERED:
            self._edited.popitem(last=False)
        return True
