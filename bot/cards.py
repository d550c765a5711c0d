"""The card: what the bot wants to do, shown whole, so that a press agrees to nothing unseen."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from adapters.chat.safe_text import visible
from adapters.chat.sentences import mark, say
from agents.events import Wanted
from tools.contract import ToolCall
from tools.rules import Decision

MOST_CHARS = 3_000  # of all arguments together; more is not read before it is agreed to
_MOST_SOURCES, _SOURCE_CHARS = 12, 120
_WORD = re.compile(r"\w+")
_BACKTICK = "\\u0060"  # in JSON the same character, which can't close the fence

ASKS = mark("I need your OK before I do this:")
READ = mark("Before that I read:")
MIXED = mark("Look closely: letters of several alphabets in one word: {words}")
ONLY = mark("Only these people may agree to it: {users}")
HOW = mark(
    "Press a button, or write `!approve` or `!deny`, within {minutes} minutes. Nothing is done "
    "before."
)
TOO_LONG = mark(
    "I may not do this: what I would send is longer than I can show you here ({chars} characters, "
    "{most} at most). Ask for less at once."
)


class CardTooLong(Exception):
    """The arguments can't be shown whole; `chars` says how long they are."""

    def __init__(self, chars: int) -> None:
        super().__init__(f"{chars} characters of arguments")
        self.chars = chars


def card_of(
    wanted: Wanted, *, minutes: int, locale: str, approvers: Iterable[str] | None = None
) -> str:
    """Markdown whose structure is ours alone; raises `CardTooLong`."""
    shown = [_call(call) for call in _asked_for(wanted)]
    if (chars := sum(map(len, shown))) > MOST_CHARS:
        raise CardTooLong(chars)
    blocks = [say(locale, ASKS), *(f"```\n{text}\n```" for text in shown)]
    if words := sorted({word for text in shown for word in mixed_words(text)}):
        told = ", ".join(f"{word} = {_spelled(word)}" for word in words)
        blocks.append(f"⚠️ {say(locale, MIXED, words=told)}")
    if wanted.sources:
        blocks.append("\n".join([say(locale, READ), "```", *_sources(wanted.sources), "```"]))
    if approvers is not None:
        named = ", ".join(f"`{user}`" for user in sorted(approvers)) or "–"
        blocks.append(say(locale, ONLY, users=named))
    blocks.append(say(locale, HOW, minutes=minutes))
    return "\n\n".join(blocks)


def _spelled(word: str) -> str:
    return word.encode("ascii", "backslashreplace").decode()


def _asked_for(wanted: Wanted) -> Iterator[ToolCall]:
    """The whole step waits, so all of it is shown but what the rules refuse anyway."""
    calls, decisions = wanted.planned.calls, wanted.planned.decisions
    for call, decision in zip(calls, decisions or [Decision("press")] * len(calls), strict=True):
        if decision.verdict != "deny":
            yield call


def _call(call: ToolCall) -> str:
    arguments = json.dumps(call.arguments, ensure_ascii=False, indent=1)
    return f"{call.name} {visible(arguments)}".replace("`", _BACKTICK)


def _sources(sources: Sequence[str]) -> Iterator[str]:
    for source in sources[:_MOST_SOURCES]:
        text = visible(" ".join(source.split())).replace("`", "'")
        yield text if len(text) <= _SOURCE_CHARS else f"{text[:_SOURCE_CHARS]}…"
    if len(sources) > _MOST_SOURCES:
        yield f"… +{len(sources) - _MOST_SOURCES}"


def mixed_words(text: str) -> Iterator[str]:
    """Words with letters of Latin and of a script whose letters look like it."""
    if text.isascii():
        return
    for word in _WORD.findall(text):
        scripts = {unicodedata.name(char, "").partition(" ")[0] for char in word if char.isalpha()}
        if len(scripts & {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"}) > 1:
            yield word
