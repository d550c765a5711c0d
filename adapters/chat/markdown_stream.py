"""Growing Markdown for a surface that can only append: what can no longer change its meaning.

A marker that is still alone (`**`, a backtick, `[`, `<`), a line that may yet become a fence, a
heading or a list, a row that may yet head a table and half an emoji are held back until they
are decided, for at most `HOLD_CHARS` characters. Underlined headings are not waited for.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

HOLD_CHARS = 300  # about four lines: a marker that old is taken for text
_CLUSTER = 64  # the longest emoji that is waited for
_TAIL = 64  # how much of what went out is compared with the new text

_FENCE = re.compile(r"[ \t>]*+(`{3,}+(?=[^`\n]*$)|~{3,}+)", re.MULTILINE)
_MAYBE_MARKER = re.compile(
    r"[ \t>]*+(?:`{0,2}|~{0,2}|#{1,6}|[-*_=+ \t]+|\d{1,9}[.)]?[ \t]*|[-*+][ \t]+\[[ xX]?\]?)"
)
_BLOCK = re.compile(r"[ \t]*+(?:>|#{1,6}[ \t]|[-*+][ \t]|\d{1,9}[.)][ \t])")
_BREAK = re.compile(r"\n[ \t>]*+(?:\n|`{3}|~{3}|#{1,6}[ \t]|[-*+][ \t]|\d{1,9}[.)][ \t])")
_TABLE_RULE = re.compile(r"[ \t>]*+\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*+\|?[ \t]*\r?\n?")
_MAYBE_RULE = re.compile(r"[ \t>|:\-\r]*+")
_TOKEN = re.compile(r"\\[^\n]|`++|\*++|_++|~++|\[|\]|<|[^\\`*_~\[\]<]++|\\", re.DOTALL)
_UNDECIDED_END = re.compile(r"(?:&#?\w{0,31}|!|\\|\r)\Z")


class TextChanged(ValueError):
    """The text is not a continuation of what was given out; begin a new `StableText`."""


class StableText:
    """Gives out the stable part of a growing text, each character once.

    The pieces joined are always the beginning of the text, and after `finish` all of it.
    """

    def __init__(self) -> None:
        self._text, self._at = "", 0
        self._block = _Block()

    def feed(self, whole_text: str) -> str:
        """What became stable by now; raises `TextChanged` when the text does not go on.

        Only the end of what went out is compared, so that feeding stays linear.
        """
        tail = self._text[max(self._at - _TAIL, 0) : self._at]
        if not whole_text.startswith(tail, self._at - len(tail)):
            raise TextChanged(f"the text no longer begins with the {self._at} characters given")
        scan = _Scan(whole_text, self._at, self._block)
        cut = max(_whole_characters(whole_text, scan.stable()), self._at)
        self._text, self._block = whole_text, scan.block
        return self._give(cut)

    def finish(self) -> str:
        """All that was still held back."""
        return self._give(len(self._text))

    def _give(self, cut: int) -> str:
        given, self._at = self._text[self._at : cut], cut
        return given


def _whole_characters(text: str, cut: int) -> int:
    """`cut`, or a little earlier when the text ends in what may become a longer emoji."""
    start = cut
    while start == 0 or cut - start < _CLUSTER:
        if cut != len(text) or start == 0 or not _may_grow(text[start - 1]):
            return start
        start -= 1
    return cut


def _may_grow(char: str) -> bool:
    return not char.isascii() and (
        char == "\ufe0f" or unicodedata.category(char) in ("So", "Sk", "Cs", "Cf")
    )


@dataclass(frozen=True, slots=True)
class _Block:
    """What the next line stands in."""

    fence: str = ""  # the run that opened the code block
    table: bool = False


@dataclass(slots=True)
class _Opener:
    at: int
    mark: str
    count: int


class _Scan:
    """One walk over what is held back plus what is new."""

    def __init__(self, text: str, at: int, block: _Block) -> None:
        self.block = block
        self._text, self._at = text, at
        self._openers: list[_Opener] = []
        self._held = len(text)  # from here on nothing is decided
        self._whole = at  # where the last link or code ends
        self._emphases: list[tuple[int, int]] = []  # where each begins and ends

    def stable(self) -> int:
        """How much of the text can be given out."""
        at = self._at
        while at < self._held:
            at = self._line(at)
        oldest = len(self._text) - HOLD_CHARS
        waiting = [self._held, self._undecided_end(), *(each.at for each in self._openers)]
        return min((each for each in waiting if each >= oldest), default=len(self._text))

    def _line(self, at: int) -> int:
        """Read the line, or the rest of one, that begins at `at`; returns where to go on."""
        newline = self._text.find("\n", at)
        stop, complete = (newline + 1, True) if newline >= 0 else (len(self._text), False)
        at_start = at == 0 or self._text[at - 1] == "\n"
        line = self._text[at:stop]
        if self.block.fence:
            return self._code(at, line, at_start=at_start, complete=complete)
        if at_start and (begun := self._begin(at, line, complete=complete)) is not None:
            return begun
        if self.block.table:
            if "|" in line or not complete:
                return stop if complete else self._hold(at, stop)
            self.block = _Block()
        if "|" in line and (table := self._table(at, stop, complete=complete)) is not None:
            return table
        return self._inline(at, stop)

    def _hold(self, at: int, stop: int) -> int:
        """Nothing from `at` on is decided, unless it waited too long already."""
        if len(self._text) - at <= HOLD_CHARS:
            self._held = min(self._held, at)
        return stop

    def _begin(self, at: int, line: str, *, complete: bool) -> int | None:
        """A line's first characters: where to go on when they decide the whole line."""
        stop = at + len(line)
        if complete and not line.strip():
            self._openers.clear()
            self.block = _Block()
            return stop
        if fence := _FENCE.match(line):
            if not complete and len(line) <= HOLD_CHARS:
                return self._hold(at, stop)
            self._openers.clear()
            self.block = _Block(fence[1])
            return stop
        if not complete and len(line) <= HOLD_CHARS and _MAYBE_MARKER.fullmatch(line):
            return self._hold(at, stop)
        if _BLOCK.match(line):
            self._openers.clear()
        return None

    def _code(self, at: int, line: str, *, at_start: bool, complete: bool) -> int:
        stop, run = at + len(line), line.strip(" \t>\r\n")
        closes = at_start and run.startswith(self.block.fence) and not run.strip(run[:1])
        if complete and closes:
            self.block = _Block()
        elif not complete and at_start and (not run.strip(self.block.fence[0])):
            return self._hold(at, stop)
        return stop

    def _table(self, at: int, stop: int, *, complete: bool) -> int | None:
        """The line at `at` may head a table: where to go on, None when it does not."""
        if not complete:
            return self._hold(at, stop) if stop - at <= HOLD_CHARS else None
        newline = self._text.find("\n", stop)
        rule_end = newline + 1 if newline >= 0 else len(self._text)
        rule = self._text[stop:rule_end]
        if newline >= 0:
            if "-" not in rule or not _TABLE_RULE.fullmatch(rule):
                return None
            self._openers.clear()
            self.block = _Block(table=True)
            return rule_end
        if len(self._text) - at > HOLD_CHARS or not _MAYBE_RULE.fullmatch(rule):
            return None
        return self._hold(at, rule_end)

    def _inline(self, at: int, stop: int) -> int:
        """Read the markup from `at` to `stop`; a span may lead past it."""
        while at < stop:
            token = _TOKEN.match(self._text, at, stop)
            if token is None:  # a backslash before the newline
                return stop
            mark, end = token[0], token.end()
            if mark[0] == "`":
                end = self._code_span(at, mark)
            elif mark[0] in "*_~":
                self._delimiter(at, mark)
            elif mark == "[":
                self._open(at, mark)
            elif mark == "]":
                end = self._close_bracket(end)
            elif mark == "<":
                end = self._angle(at)
            at = end
        return at

    def _open(self, at: int, mark: str) -> None:
        if self._openers and self._openers[0].at < at - 2 * HOLD_CHARS:
            self._openers = [each for each in self._openers if each.at >= at - HOLD_CHARS]
        start = at - 1 if mark == "[" and self._text[at - 1 : at] == "!" else at
        self._openers.append(_Opener(max(start, self._at), mark[0], len(mark)))

    def _code_span(self, at: int, mark: str) -> int:
        """Where the code that `mark` opens ends; right after the mark when it opens none."""
        begin, limit = at + len(mark), at + len(mark) + HOLD_CHARS
        stretch = self._text[begin:limit]
        found = re.search(rf"(?<!`){mark}(?!`)", stretch)
        ended = _BREAK.search(stretch)
        if found and (ended is None or found.start() < ended.start()):
            self._whole = begin + found.end()
            if self._whole == len(self._text):  # may be a longer run
                return self._hold(at, self._whole)
            return self._whole
        if ended is None and len(self._text) <= limit:
            return self._hold(at, len(self._text))
        return begin

    def _delimiter(self, at: int, mark: str) -> None:
        end = at + len(mark)
        if end == len(self._text):
            self._hold(at, end)
            return
        before, after = self._text[at - 1 : at] or " ", self._text[end]
        opens, closes = not after.isspace(), not before.isspace()
        if mark[0] == "_":
            opens, closes = opens and not before.isalnum(), closes and not after.isalnum()
        left = len(mark)
        while closes and left and (index := self._last_opener(mark[0])) is not None:
            opener = self._openers[index]
            taken = min(left, opener.count)
            left, opener.count = left - taken, opener.count - taken
            self._emphases.append((opener.at, end))
            del self._openers[index + (opener.count > 0) :]
        if opens and left:
            self._open(at, mark[0] * left)

    def _last_opener(self, mark: str) -> int | None:
        for index in range(len(self._openers) - 1, -1, -1):
            if self._openers[index].mark == mark:
                return index
        return None

    def _close_bracket(self, end: int) -> int:
        """`end` is right after a `]`: where the link it may belong to ends."""
        index = self._last_opener("[")
        if index is None:
            return end
        opener = self._openers[index]
        del self._openers[index:]
        follows = self._text[end : end + 1]
        if not follows:
            return self._hold(opener.at, end)
        if follows not in "([:":
            return end
        closer = {"(": ")", "[": "]", ":": "\n"}[follows]
        return self._until(closer, opener.at, end)

    def _angle(self, at: int) -> int:
        follows = self._text[at + 1 : at + 2]
        if not follows:
            return self._hold(at, at + 1)
        return self._until(">", at, at + 1) if follows.isalpha() or follows in "/!?@#" else at + 1

    def _until(self, closer: str, start: int, end: int) -> int:
        """Right after `closer` on this line; `end` when it is not there or too far."""
        newline = self._text.find("\n", end, start + HOLD_CHARS)
        found = self._text.find(closer, end, start + HOLD_CHARS)
        if found >= 0 and (newline < 0 or found <= newline):
            self._whole = found if closer == "\n" else found + 1
            return self._whole
        if newline < 0 and len(self._text) - start <= HOLD_CHARS:
            return self._hold(start, len(self._text))
        return end

    def _undecided_end(self) -> int:
        """Where a half-written address, entity or escape at the end begins."""
        begin = max(len(self._text) - HOLD_CHARS, self._whole)
        end = self._text[begin:]
        if self.block.fence or not end or end[-1] == "\n":
            return len(self._text)
        word = end[max(end.rfind(" "), end.rfind("\t"), end.rfind("\n")) + 1 :]
        if "://" in word or "www." in word:
            return self._outside(len(self._text) - len(word))
        short = _UNDECIDED_END.search(end)
        return begin + short.start() if short else len(self._text)

    def _outside(self, cut: int) -> int:
        """`cut`, or where the emphasis begins that it would tear apart."""
        return min((start for start, end in self._emphases if start < cut < end), default=cut)
