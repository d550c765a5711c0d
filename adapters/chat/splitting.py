"""Long Markdown cut into messages: no character lost, no code fence left open at a cut."""

from __future__ import annotations

import bisect
import re
import unicodedata
from dataclasses import dataclass

MIN_LIMIT = 256  # room for the markers below and still some text
_MAX_RUN = 16  # a longer run of backticks is taken for text
_MAX_INFO = 32  # a longer info string is not repeated when a fence is reopened
_CLOSER_ROOM = 1 + 12 + _MAX_RUN
_STEPS_BACK = 64  # how far a hard cut looks for the end of a grapheme

_FENCE = re.compile(
    r"^(?P<prefix>[ \t>]{0,12})(?P<run>`{3,}+|~{3,}+)(?P<info>[^\n]{0,60})$", re.MULTILINE
)
_MARKER_AHEAD = re.compile(r"[ \t>]{0,12}(?:`{3}|~{3})")
_CELLS = r"(?=[^\n|]*+\|)[^\n]*+"
_RULE = r"(?=[^\n|]*+\|)(?=[^\n-]*+-)[ \t>|:-]*+"
_TABLE = re.compile(
    rf"^(?P<head>{_CELLS}\n{_RULE}\n)(?P<rows>(?:{_CELLS}(?:\n|\Z))++)", re.MULTILINE
)
_HEADING_LAST = re.compile(r"(?:^|\n)(#{1,6}[ \t][^\n]{0,200}\n+)\Z")
_HEADING_CHARS = 240
_SENTENCE_ENDS = (". ", "! ", "? ", ".\t", "。", "！", "？")


@dataclass(frozen=True, slots=True)
class Piece:
    """One part: `body` is the text's own, the markers around it are added."""

    body: str
    opener: str = ""
    closer: str = ""

    def __str__(self) -> str:
        return self.opener + self.body + self.closer


@dataclass(frozen=True, slots=True)
class _Fence:
    """A code block: where its first and last lines begin and end."""

    prefix: str
    run: str
    info: str
    start: int
    code: int
    close: int
    end: int

    @property
    def opener(self) -> str:
        info = self.info if len(self.info) <= _MAX_INFO else ""
        return f"{self.prefix}{self.run}{info}\n"

    def closer_after(self, body: str) -> str:
        return ("" if body.endswith("\n") else "\n") + self.prefix + self.run


@dataclass(frozen=True, slots=True)
class _Table:
    """Where a table's head, its rows and what follows begin."""

    start: int
    rows: int
    end: int


def split_markdown(text: str, limit: int) -> list[str]:
    """The text in parts of at most `limit` characters; a blank text has no part.

    Each part is a piece of `split_pieces`; pieces of nothing but white space are left out.
    """
    return [str(piece) for piece in split_pieces(text, limit) if piece.body.strip()]


def split_pieces(text: str, limit: int) -> list[Piece]:
    """Cut the text; the bodies joined are the text exactly.

    Prefers a blank line, then a newline, a sentence, a space. A table that must be cut has its
    head again in the next piece. Raises `ValueError` for a limit under `MIN_LIMIT`.
    """
    if limit < MIN_LIMIT:
        raise ValueError(f"limit {limit} is under the smallest possible, {MIN_LIMIT}")
    fences = _Fences(text)
    tables = _Tables(text, fences)
    pieces: list[Piece] = []
    at, opener = 0, ""
    while len(opener) + len(text) - at > limit:
        low, end = fences.past_marker(at), at + limit - len(opener)
        cut = fences.allowed(_best_cut(text, low, end), low)
        if torn := fences.around(cut):
            cut = fences.allowed(_best_cut(text, low, end - _CLOSER_ROOM), low)
            cut = max(cut, torn.start)
        else:
            cut = tables.allowed(_before_heading(text, low, cut), low)
        body, inside = text[at:cut], fences.around(cut)
        closer = inside.closer_after(body) if inside else ""
        pieces.append(Piece(body, opener, closer))
        at, opener = cut, inside.opener if inside else tables.opener(cut, limit)
    return [*pieces, Piece(text[at:], opener)]


def clip(text: str, limit: int) -> str:
    """A preview: at most `limit` characters, cut with an ellipsis, an open fence closed."""
    if len(text) <= limit:
        open_fence = _Fences(text).open_at_end()
        closer = open_fence.closer_after(text) if open_fence else ""
        return text + closer if len(text) + len(closer) <= limit else text
    if limit <= 2 * _CLOSER_ROOM:
        return text[: _grapheme_cut(text, 0, max(limit - 1, 0))] + "…"[:limit]
    cut = _grapheme_cut(text, 0, limit - _CLOSER_ROOM - 1)
    fences = _Fences(text)
    fence = fences.around(cut)
    if fence is None:
        end = _grapheme_cut(text, 0, limit - 1)
        begun = fences.around(end)  # in the room of a closer that was not needed
        return text[: begun.start if begun else end] + "…"
    if cut <= fence.code:
        return text[: fence.start] + "…"
    head = text[: min(cut, fence.close)] + "…"
    return head + fence.closer_after(head)


class _Fences:
    """The code blocks of a text, in order."""

    def __init__(self, text: str) -> None:
        self._blocks = _find_fences(text)
        self._starts = [block.start for block in self._blocks]
        self._length = len(text)

    def around(self, at: int) -> _Fence | None:
        """The block that a cut at `at` would tear apart."""
        index = bisect.bisect_left(self._starts, at) - 1
        if index < 0:
            return None
        block = self._blocks[index]
        return block if at < block.end or block.close == block.end else None

    def open_at_end(self) -> _Fence | None:
        block = self._blocks[-1] if self._blocks else None
        return block if block and block.close == block.end else None

    def past_marker(self, at: int) -> int:
        """`at`, or the first character of code when a block begins right here."""
        index = bisect.bisect_left(self._starts, at)
        begins = index < len(self._starts) and self._starts[index] == at
        return self._blocks[index].code if begins else at

    def allowed(self, cut: int, low: int) -> int:
        """The nearest cut in (low, cut] that leaves the marker lines whole."""
        fence = self.around(cut)
        if fence is None or cut <= low:
            return cut
        if cut <= fence.code:
            return fence.start if fence.start > low else cut
        return fence.close if low < fence.close < cut else cut


class _Tables:
    """The tables of a text outside its code, in order."""

    def __init__(self, text: str, fences: _Fences) -> None:
        self._text = text
        self._tables = [
            _Table(found.start(), found.start("rows"), found.end())
            for found in _TABLE.finditer(text)
            if fences.around(found.start() + 1) is None
        ]
        self._starts = [each.start for each in self._tables]

    def _around(self, cut: int) -> _Table | None:
        index = bisect.bisect_left(self._starts, cut) - 1
        table = self._tables[index] if index >= 0 else None
        return table if table and cut < table.end else None

    def allowed(self, cut: int, low: int) -> int:
        """Before the table, when that leaves a piece at least half as long, or in its head."""
        table = self._around(cut)
        if table is None or table.start <= low:
            return cut
        in_head = cut <= table.rows
        return table.start if in_head or table.start - low >= (cut - low) // 2 else cut

    def opener(self, cut: int, limit: int) -> str:
        """The head of the table that is cut between two rows, unless it is long."""
        table = self._around(cut)
        if table is None or cut < table.rows or self._text[cut - 1] != "\n":
            return ""
        head = self._text[table.start : table.rows]
        return head if len(head) <= limit // 4 else ""


def _before_heading(text: str, low: int, cut: int) -> int:
    """`cut`, or before the heading that would stand alone at the end of the piece."""
    begin = max(low, cut - _HEADING_CHARS)
    found = _HEADING_LAST.search(text[begin:cut]) if text[cut - 1] == "\n" else None
    return begin + found.start(1) if found and begin + found.start(1) > low else cut


def _find_fences(text: str) -> list[_Fence]:
    blocks: list[_Fence] = []
    opened: re.Match[str] | None = None
    for line in _FENCE.finditer(text):
        run, info = line["run"], line["info"].strip()
        if opened is None:
            if len(run) <= _MAX_RUN and run[0] not in info:
                opened = line
        elif run.startswith(opened["run"]) and len(run) <= _MAX_RUN and not info:
            blocks.append(_block(opened, line.start(), line.end(), text))
            opened = None
    if opened is not None:  # never closed: the rest is code
        blocks.append(_block(opened, len(text), len(text), text))
    return blocks


def _block(opened: re.Match[str], close: int, end: int, text: str) -> _Fence:
    code = min(opened.end() + 1, len(text))
    info = opened["info"].strip()
    return _Fence(opened["prefix"], opened["run"], info, opened.start(), code, close, end)


def _best_cut(text: str, at: int, end: int) -> int:
    """The best place in (at, end]: nice ones in the later half first, then nice ones at all."""
    for start in ((at + end) // 2, at):
        for cut in (
            _after_last(text, ("\n\n",), start, end),
            _after_last(text, ("\n",), start, end),
            _after_last(text, _SENTENCE_ENDS, start, end),
            _after_last(text, (" ",), start, end),
        ):
            if cut > at and (text[cut - 1] == "\n" or not _MARKER_AHEAD.match(text, cut)):
                return cut
    return _grapheme_cut(text, at, end)


def _after_last(text: str, separators: tuple[str, ...], start: int, end: int) -> int:
    found = ((text.rfind(each, start, end), len(each)) for each in separators)
    return max((index + size if index >= 0 else 0) for index, size in found)


def _grapheme_cut(text: str, at: int, end: int) -> int:
    """`end`, or a little earlier so that no grapheme and no fence marker is torn."""
    for cut in range(end, max(at, end - _STEPS_BACK), -1):
        if not _joined(text, cut) and not _MARKER_AHEAD.match(text, cut):
            return cut
    return end - 1 if _surrogates(text, end) and end - 1 > at else end


def _joined(text: str, cut: int) -> bool:
    """Do the characters around `cut` belong together?"""
    if not 0 < cut < len(text):
        return False
    before, after = text[cut - 1], text[cut]
    if before.isascii() and after.isascii():
        return before == "\r" and after == "\n"
    if "\u200d" in (before, after) or "\U0001f3fb" <= after <= "\U0001f3ff":
        return True
    if _surrogates(text, cut) or unicodedata.category(after) in ("Mn", "Me", "Mc"):
        return True
    return _flag(before) and _flag(after) and _flags_before(text, cut) % 2 == 1


def _surrogates(text: str, cut: int) -> bool:
    pair = text[max(cut - 1, 0) : cut + 1]
    return len(pair) == 2 and "\ud800" <= pair[0] <= "\udbff" and "\udc00" <= pair[1] <= "\udfff"


def _flag(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _flags_before(text: str, cut: int) -> int:
    count = 0
    while count < _STEPS_BACK and cut - count > 0 and _flag(text[cut - count - 1]):
        count += 1
    return count
