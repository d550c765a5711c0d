"""Text made safe: for stores and wires (`sound`), for terminals and logs (`visible`)."""

from __future__ import annotations

import unicodedata

_KEPT = frozenset("\n\t\u200c\u200d")  # joiners carry meaning in emoji, Persian and Indic text
_HIDDEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2028\u2029\u3164\uffa0")
_MARKS_IN_A_ROW = 4


def sound(text: str) -> str:
    """The text with surrogate pairs joined and lone ones replaced: always fit for UTF-8."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def visible(text: str) -> str:
    """The text with escapes, bidi and invisible characters written as `⟨U+001B⟩`.

    Works from left to right only, so `visible(a + b)` always starts with `visible(a)`.
    Carriage returns and all but the first combining marks of a pile are dropped.
    """
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    marks = 0
    for char in text:
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if char == "\r" or marks > _MARKS_IN_A_ROW:
            continue
        shown.append(_escape(char) if _is_hidden(char, category) else char)
    return "".join(shown)


def _is_hidden(char: str, category: str) -> bool:
    if char in _KEPT:
        return False
    return category in ("Cc", "Cf", "Cs", "Cn", "Co") or char in _HIDDEN


def _escape(char: str) -> str:
    return f"⟨U+{ord(char):04X}⟩"
