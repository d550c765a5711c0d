"""A message as it can be stored: valid Unicode, and not longer than allowed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from adapters.chat.types import Message, Quote

CUT = "\n[the message was longer than {:,} characters; the rest was cut]"


def tidied(message: Message, *, max_chars: int, locale: str) -> Message:
    """Text, and the quotes together, cut to `max_chars`; `locale` in the place of its own."""
    text = message.text[:max_chars].encode(errors="replace").decode()
    if len(message.text) > max_chars:
        text += CUT.format(max_chars)
    quotes = _bounded(message.quotes, max_chars)
    return msgspec.structs.replace(message, text=text, locale=locale, quotes=quotes)


def _bounded(quotes: Sequence[Quote], max_chars: int) -> tuple[Quote, ...]:
    """The newest that are `max_chars` together at most, as valid Unicode."""
    kept: list[Quote] = []
    for quote in reversed(quotes):
        if max_chars <= 0:
            break
        text = quote.text[:max_chars].encode(errors="replace").decode()
        max_chars -= len(text)
        kept.insert(0, msgspec.structs.replace(quote, text=text))
    return tuple(kept)
