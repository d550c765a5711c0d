"""Which conversations may use models on this machine only."""

from __future__ import annotations

from collections.abc import Mapping

from bot.sections import EVERYONE
from bot.settings import ModelsSection
from tools.identity import ConversationKey

# Kept beside the conversation's pins, and as long as they.
PRIVATE = "private"  # "on": a person asked for it
PRIVATE_BY = "private_by"  # a person of the operator's list has spoken here


class LocalOnly:
    """The operator's rules, which no message can change, and what people chose."""

    def __init__(self, section: ModelsSection) -> None:
        self._everywhere = section.local_only
        self._places = frozenset(section.local_only_channels)
        self._users = frozenset(section.local_only_users)

    def __call__(self, key: ConversationKey, pins: Mapping[str, str], user_id: str) -> bool:
        return PRIVATE in pins or self.names(user_id) or self.is_ruled(key, pins)

    def is_ruled(self, key: ConversationKey, pins: Mapping[str, str]) -> bool:
        """Whether the operator keeps this conversation here."""
        named = not self._places.isdisjoint((key.channel, key.thread, EVERYONE))
        return self._everywhere or named or self.names(pins.get(PRIVATE_BY, ""))

    def names(self, user_id: str) -> bool:
        """Whether the operator keeps all that this person takes part in here."""
        return user_id in self._users or (bool(user_id) and EVERYONE in self._users)
