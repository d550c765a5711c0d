"""A message as it can be stored: valid Unicode, nothing hidden in it, not longer than allowed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from adapters.chat.safe_text import unhidden
from adapters.chat.types import Message, Quote

CUT = "\n[the message was longer than {:,} characters; the rest was cut]"


def tidied(message: Message, *, max_chars: int, locale: str) -> Message:
    """Text, and the quotes together, cut to `max_chars`; `locale` in the place of its own."""
    text = _sound(message.text[:max_chars])
    if len(message.text) > max_chars:
        text += CUT.format(max_chars)
    return msgspec.structs.replace(
        message,
        text=text,
        locale=locale,
        quotes=_bounded(message.quotes, max_chars),
        attachments=tuple(
            msgspec.structs.replace(each, name=unhidden(each.name)) for each in message.attachments
        ),
    )


def _sound(text: str) -> str:
    """What people can't see must not speak to the model either (row I4)."""
    return unhidden(text).encode(errors="replace").decode()


def _bounded(quotes: Sequence[Quote], max_chars: int) -> tuple[Quote, ...]:
    """The newest that are `max_chars` together at most, as valid Unicode."""
    kept: list[Quote] = []
    for quote in reversed(quotes):
        if max_chars <= 0:
            break
        text = _sound(quote.text[:max_chars])
        max_chars -= len(text)
        kept.insert(0, msgspec.structs.replace(quote, text=text))
    return tuple(kept)
