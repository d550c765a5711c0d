"""Which conversations may use models on this machine only."""

from __future__ import annotations

from bot.settings import ModelsSection
from tools.identity import ConversationKey


class LocalOnly:
    """Asked with a conversation; an operator's choice, which no message can change."""

    def __init__(self, section: ModelsSection) -> None:
        self._everywhere = section.local_only
        self._channels = frozenset(section.local_only_channels)

    def __call__(self, key: ConversationKey) -> bool:
        return self._everywhere or key.channel in self._channels
