"""Which language the bot's own sentences are said in."""

from __future__ import annotations

from adapters.chat.sentences import Language, language_of
from bot.settings import Settings
from tools.identity import ConversationKey


class Languages:
    """The person's, as the platform tells it; else the channel's; else the bot's."""

    def __init__(self, settings: Settings) -> None:
        self._usual = settings.language
        self._channels = {each.id: each.language for each in settings.channels}

    def of(self, locale: str, key: ConversationKey | None = None) -> Language:
        if (own := language_of(locale)) is not None:
            return own
        return (self._channels.get(key.channel) if key is not None else None) or self._usual
