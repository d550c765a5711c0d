"""Reads the final answer out of a step's JSON while it is being generated.

Only decoded characters of `step.arguments.answer` ever leave this reader, and only once it
is certain that the step's action is `final`: raw JSON is never shown.
"""

from __future__ import annotations

import re

_HEAD = re.compile(
    r'\s*\{\s*"thought"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*"step"\s*:\s*(?:\[\s*)?\{\s*"action"\s*:\s*"final"\s*,'
    r'\s*"arguments"\s*:\s*\{\s*"answer"\s*:\s*"',
    re.DOTALL,
)
_MAX_HEAD_CHARS = 4096
_PLAIN = re.compile(r'[^"\\]+')
_ESCAPES = {
    '"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
}  # fmt: skip


class AnswerReader:
    """Feed it the text as it comes; each call gives the new characters of the answer."""

    def __init__(self) -> None:
        self._held = ""
        self._in_answer = self._over = False

    @property
    def ended(self) -> bool:
        """Whether the answer's string was read to its closing quote."""
        return self._in_answer and self._over

    def feed(self, text: str) -> str:
        if self._over:
            return ""
        self._held += text
        if not self._in_answer and not self._find_answer():
            return ""
        return self._decode()

    def _find_answer(self) -> bool:
        if match := _HEAD.match(self._held):
            self._held = self._held[match.end() :]
            self._in_answer = True
        elif len(self._held) > _MAX_HEAD_CHARS:  # calls, or keys in another order
            self._over = True
            self._held = ""
        return self._in_answer

    def _decode(self) -> str:
        decoded: list[str] = []
        at, held = 0, self._held
        while at < len(held):
            if match := _PLAIN.match(held, at):
                decoded.append(match[0])
                at = match.end()
            elif held[at] == '"':
                self._over = True
                break
            else:
                length = _escape_length(held, at)
                if length == 0:
                    break  # the escape is not whole yet
                decoded.append(_unescape(held[at : at + length]))
                at += length
        self._held = "" if self._over else held[at:]
        return "".join(decoded)


def _escape_length(text: str, at: int) -> int:
    """How long the escape at `at` is; 0 while it is not whole."""
    if at + 1 >= len(text):
        return 0
    if text[at + 1] != "u":
        return 2
    if at + 6 > len(text):
        return 0
    if not "d800" <= text[at + 2 : at + 6].lower() <= "dbff":
        return 6
    if text[at + 6 : at + 7] not in ("\\", ""):
        return 6
    if at + 12 > len(text) and text[at + 6 : at + 8] in ("", "\\", "\\u"):
        return 0  # its low half has yet to come
    low = text[at + 8 : at + 12].lower()
    return 12 if text[at + 7 : at + 8] == "u" and "dc00" <= low <= "dfff" else 6


def _unescape(escape: str) -> str:
    if len(escape) == 2:
        return _ESCAPES.get(escape[1], "")
    try:
        units = [int(escape[n + 2 : n + 6], 16) for n in range(0, len(escape), 6)]
    except ValueError:
        return ""
    raw = b"".join(unit.to_bytes(2, "big") for unit in units)
    return raw.decode("utf-16-be", errors="replace")
