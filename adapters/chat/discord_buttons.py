"""The buttons under the bot's messages on Discord."""

from __future__ import annotations

from typing import NamedTuple, get_args

from adapters.chat.types import PressKind

BUTTON_PREFIX = "firstline"

_KINDS: tuple[PressKind, ...] = get_args(PressKind)


class Button(NamedTuple):
    """What stands under a message, and the event it speaks of."""

    kind: PressKind
    event_id: str
    locale: str = ""  # of its label

    @property
    def custom_id(self) -> str:
        """At most 100 characters (docs.discord.com, components)."""
        return f"{BUTTON_PREFIX}:{self.kind}:{self.event_id}"

    @classmethod
    def parse(cls, custom_id: str) -> Button | None:
        """A button of ours, whichever process posted it."""
        prefix, _, rest = custom_id.partition(":")
        kind, _, event_id = rest.partition(":")
        if prefix != BUTTON_PREFIX or not event_id:
            return None
        return next((cls(each, event_id) for each in _KINDS if each == kind), None)
