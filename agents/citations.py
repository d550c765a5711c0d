"""Citations checked against what they cite: pure code, so the model is never taken at its word.

A sentence is supported by a passage when all of its figures stand there, and most of its telling
words do; or when it means the same in other words or another language, as vectors tell. A citation
that does not hold is moved to the passage that does, or dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tools.contract import Passage

SUPPORTED_AT = 0.5  # of a sentence's telling words; docs/support.md has the measurement
_LEAST_WORDS = 3  # a shorter sentence claims nothing: "Yes.", "It depends:"
_QUOTED_SENTENCES = 3
_MARK = re.compile(r"\s*\[(\d{1,3})\](?!\()")
_FENCE = re.compile(r"(```.*?(?:```|\Z))", re.DOTALL)
_END = re.compile(r"(?<=[.!?。！？])(?=\s|\[\d)|\n+")
_WRAP = re.compile(r"(?<!\n)\n(?![\n\-*+\d])")  # a line that goes on in the next
_WORD = re.compile(r"[^\W_]+(?:[_.-][^\W_]+)*")
_FIGURE = re.compile(r"\d[\d.,]*\d|\d")
_ENDINGS = (
    "ization",
    "ations",
    "ation",
    "ings",
    "ing",
    "edly",
    "ies",
    "ied",
    "es",
    "ed",
    "ly",
    "s",
)
_STEM_CHARS = 4  # of a word that loses an ending
_EMPTY_TEXT = """
a an and are as at be been but by can do does for from had has have how if in into is it its may
must not of on only or should so such than that the their then there these they this to was were
when where which while will with would you your also use used using
"""
_EMPTY = frozenset(_EMPTY_TEXT.split())


class Checked(NamedTuple):
    """An answer whose citations hold. `cited` are the passages in the order of their new numbers,
    `share` is how many of its claims are supported (1.0 where it claims nothing)."""

    text: str
    cited: tuple[Passage, ...]
    share: float
    claims: int


class Alike(NamedTuple):
    """How near sentences come to passages, by their vectors: (sentence, number) → cosine."""

    cosines: Mapping[tuple[str, int], float]
    supported_at: float


NOBODY_ASKED = Alike({}, 1.0)


def in_other_words(answer: str, passages: Sequence[Passage]) -> list[str]:
    """The claims that no passage's words support, and its figures do: for vectors to judge."""
    known, words = _by_number(passages)
    found = []
    for block in _FENCE.split(answer):
        if block.startswith("```"):
            continue
        for sentence, _ in _sentences(block):
            plain = _MARK.sub("", sentence).strip()
            if len(_telling(plain)) < _LEAST_WORDS or _support(plain, (), known, words):
                continue
            if any(_has_figures(plain, each) for each in passages):
                found.append(plain)
    return found


def checked(answer: str, passages: Sequence[Passage], alike: Alike = NOBODY_ASKED) -> Checked:
    """The answer with numbers from 1 on, each behind a sentence that its passage supports."""
    known, words = _by_number(passages)
    order: list[int] = []
    claims = supported = 0
    told: list[str] = []
    for block in _FENCE.split(answer):
        if block.startswith("```"):
            told.append(block)
            continue
        for sentence, gap in _sentences(block):
            asked = [int(number) for number in _MARK.findall(sentence)]
            plain = _MARK.sub("", sentence)
            if plain.lstrip().startswith("#"):  # a heading claims nothing
                told.append(plain + gap)
                continue
            found = _support(plain, asked, known, words) or _meant(plain, known, alike)
            if len(_telling(plain)) >= _LEAST_WORDS:
                claims += 1
                supported += found is not None
            if found is None or (not asked and len(_telling(plain)) < _LEAST_WORDS):
                told.append(plain + gap)
                continue
            if found not in order:
                order.append(found)
            is_row = plain.lstrip().startswith("|")  # a mark behind it would be one cell more
            mark = "" if is_row else f" [{order.index(found) + 1}]"
            told.append(f"{plain.rstrip()}{mark}{gap}")
    cited = tuple(known[number] for number in order)
    return Checked("".join(told).strip(), cited, supported / claims if claims else 1.0, claims)


def quoted(question: str, passages: Sequence[Passage]) -> Checked:
    """The answer as the documents themselves give it: what in the best passage is nearest."""
    if not passages:
        return Checked("", (), 0.0, 0)
    wanted = _words(question)
    best = passages[0]
    flowing = _WRAP.sub(" ", _FENCE.sub(" ", best.text))
    found = [sentence.strip() for sentence, _ in _sentences(flowing)]
    found = [" ".join(each.split()) for each in found if len(_telling(each)) >= _LEAST_WORDS]
    if not found:
        found = [" ".join(best.text.split())[:400]]
    scores = [len(_words(each) & wanted) for each in found]
    at = scores.index(max(scores))
    shown = " ".join(found[at : at + _QUOTED_SENTENCES])
    return Checked(f"> {shown} [1]", (best,), 1.0, 1)


def _support(
    sentence: str,
    asked: Sequence[int],
    known: Mapping[int, Passage],
    words: Mapping[int, frozenset[str]],
) -> int | None:
    """The passage that supports it: the one that was named, if it does, else the best."""
    telling = _telling(sentence)
    if not telling:
        return next((number for number in asked if number in known), None)

    def share(number: int) -> float:
        if not _has_figures(sentence, known[number]):
            return 0.0
        return len(telling & words[number]) / len(telling)

    for number in asked:
        if number in known and share(number) >= SUPPORTED_AT:
            return number
    best = max(known, key=share, default=None)
    return best if best is not None and share(best) >= SUPPORTED_AT else None


def _meant(sentence: str, known: Mapping[int, Passage], alike: Alike) -> int | None:
    """The passage that says the same in other words."""
    cosines = {
        number: alike.cosines.get((sentence.strip(), number), -1.0)
        for number, passage in known.items()
        if _has_figures(sentence, passage)
    }
    best = max(cosines, key=lambda number: cosines[number], default=None)
    return best if best is not None and cosines[best] >= alike.supported_at else None


def _by_number(
    passages: Sequence[Passage],
) -> tuple[dict[int, Passage], dict[int, frozenset[str]]]:
    known = {each.number: each for each in passages}
    words = {number: _words(f"{each.heading} {each.text}") for number, each in known.items()}
    return known, words


def _has_figures(sentence: str, passage: Passage) -> bool:
    there = set(_FIGURE.findall(f"{passage.heading} {passage.text}"))
    return set(_FIGURE.findall(sentence)) <= there


def _sentences(text: str) -> list[tuple[str, str]]:
    """Each with the space behind it; marks behind a full stop belong to the sentence before."""
    found: list[tuple[str, str]] = []
    at = 0
    for end in [*_END.finditer(text), None]:
        stop = end.start() if end else len(text)
        sentence = text[at:stop]
        gap = end[0] if end else ""
        at = end.end() if end else len(text)
        marks = _MARK.match(sentence)
        while marks and found and found[-1][1] in ("", " "):
            before, _ = found[-1]
            found[-1] = (before + marks[0], "")
            sentence = sentence[marks.end() :]
            marks = _MARK.match(sentence)
        if sentence or gap:
            found.append((sentence, gap))
    return found


def _telling(text: str) -> frozenset[str]:
    return _words(_MARK.sub("", text))


def _words(text: str) -> frozenset[str]:
    found = (word.casefold() for word in _WORD.findall(text))
    return frozenset(_stem(word) for word in found if word not in _EMPTY and len(word) > 1)


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM_CHARS:
            return word[: -len(ending)]
    return word
