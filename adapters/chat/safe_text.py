"""Text made safe: for stores and wires (`sound`), for chat (`unhidden`), for terminals and logs
(`visible`)."""

from __future__ import annotations

import re
import unicodedata

_KEPT = frozenset("\n\t\u200c\u200d")  # joiners carry meaning in emoji, Persian and Indic text
_HIDDEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2028\u2029\u3164\uffa0")
_MARKS_IN_A_ROW = 4

_MARK = (
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f]"
)
_PILE = re.compile(f"({_MARK}{{{_MARKS_IN_A_ROW}}}){_MARK}++")
_UNSEEN = re.compile(
    r"(\U0001f3f4[\U000e0030-\U000e007a]{2,6}\U000e007f)"  # a region's flag is made of tags
    r"|\x1b\[[0-?]*+[ -/]*+[@-~]"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b"
    r"\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)


def sound(text: str) -> str:
    """The text with surrogate pairs joined and lone ones replaced: always fit for UTF-8."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def unhidden(text: str) -> str:
    """The text without escapes, bidi overrides, invisible and tag characters; never longer.

    Joiners, the plain direction marks and flags stay; of a pile of marks the first four do.
    """
    if text.isascii() and text.isprintable():
        return text
    return _PILE.sub(r"\1", _UNSEEN.sub(_flag_or_nothing, text))


def _flag_or_nothing(found: re.Match[str]) -> str:
    return found[1] or ""


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
