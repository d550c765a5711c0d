"""`firstline report`: what was asked in vain, what was called bad, and what could be written down.

Everything is read from what is kept anyway: the turns' ends, their memory, and the ratings.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from agents.turns import Turn
from bot.settings import Settings
from bot.stores import Stores, open_stores
from bot.support import NOT_THERE
from bot.turn import OWN_WORDS
from tools.identity import ConversationKey

_DAY_S = 24 * 3600.0
_QUESTION_CHARS, _ANSWER_CHARS = 200, 4000
_SOURCES = re.compile(r"\n\n\*\*[^*\n]{1,40}\*\*\n1\. .*", re.DOTALL)
_MARKS = re.compile(r"\s*\[\d{1,3}\](?!\()")
_NEAREST = re.compile(r"^- (.+)$", re.MULTILINE)
_FILE_NAME = re.compile(r"[^\w]+")


class Asked(NamedTuple):
    """A question with its answer; `public`: everyone in the workspace could read both."""

    question: str
    answer: str
    public: bool


class Report(NamedTuple):
    """One workspace or server over some days."""

    tenant: str
    days: int
    states: Counter[str]
    called: int  # times a person was called
    missing: tuple[tuple[str, int, str], ...]  # question, how often, the nearest document
    bad: tuple[Asked, ...]
    good: tuple[Asked, ...]


async def report_of(
    stores: Stores, tenant: str, *, days: int, clock: Callable[[], float] = time.time
) -> Report:
    """Raises `StoreUnavailable`."""
    since = clock() - days * _DAY_S
    closed = await stores.ledger.closed_since(tenant, since)
    memory = _Memory(stores)
    unanswered: list[Asked] = []
    for each in closed:
        if each.reason == NOT_THERE and each.state == "answered":
            found = await memory.asked(each.conversation, each.turn_id)
            unanswered += [found] if found else []
    rated: dict[str, list[Asked]] = {"up": [], "down": []}
    for said in await stores.feedback.of(tenant):
        if said.kind in rated and said.at >= since:
            found = await memory.asked(ConversationKey.parse(said.conversation), said.turn_id)
            rated[said.kind] += [found] if found else []
    states = Counter(each.state for each in closed if each.reason not in OWN_WORDS)
    called = sum(each.reason == "hand_over" for each in closed)
    missing = tuple(_grouped(unanswered))
    return Report(tenant, days, states, called, missing, tuple(rated["down"]), tuple(rated["up"]))


class _Memory:
    """Questions and answers by turn; each conversation is read once."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._known: dict[ConversationKey, dict[str, Asked]] = {}

    async def asked(self, key: ConversationKey, turn_id: str) -> Asked | None:
        """None where it was forgotten."""
        if key not in self._known:
            turns = await self._stores.memory.turns(key)
            self._known[key] = _by_turn(turns, public=key.place == "public")
        return self._known[key].get(turn_id)


def _by_turn(turns: Iterable[Turn], *, public: bool) -> dict[str, Asked]:
    found: dict[str, Asked] = {}
    for turn in turns:
        text = " ".join(turn.text.split())[:_QUESTION_CHARS]
        if turn.role == "user" and text:
            found[turn.turn_id] = Asked(text, "", public)
        elif turn.role == "assistant" and turn.turn_id in found and turn.text.strip():
            asked = found[turn.turn_id]
            found[turn.turn_id] = asked._replace(answer=turn.text.strip()[:_ANSWER_CHARS])
    return found


def _grouped(asked: Sequence[Asked]) -> list[tuple[str, int, str]]:
    """The same question asked in the same words counts once more; the most frequent first."""
    counts: Counter[str] = Counter()
    shown: dict[str, Asked] = {}
    for each in asked:
        key = " ".join(re.findall(r"\w+", each.question.casefold()))
        counts[key] += 1
        shown[key] = each
    told = []
    for key, count in counts.most_common():
        nearest = _NEAREST.search(shown[key].answer)
        told.append((shown[key].question, count, nearest[1] if nearest else ""))
    return told


def as_markdown(report: Report) -> str:
    """For the team's channel, or a mail."""
    total = sum(report.states.values())
    lines = [
        f"# {report.tenant}, {report.days} days",
        "",
        f"{total:,} questions: "
        + ", ".join(f"{count:,} {state}" for state, count in report.states.most_common())
        + f"; a person was called {report.called:,} times.",
        "",
        f"## Asked in vain ({sum(count for _, count, _ in report.missing):,})",
        "",
    ]
    for question, count, nearest in report.missing:
        often = f" ({count} times)" if count > 1 else ""
        hint = f"; write it down, perhaps in: {nearest}" if nearest else "; write it down"
        lines.append(f"- {question}{often}{hint}")
    lines += ["", f"## Called bad ({len(report.bad):,})", ""]
    lines += [f"- {each.question}" for each in report.bad]
    lines += ["", f"## Called good ({len(report.good):,})", ""]
    lines += [f"- {each.question}" for each in report.good]
    return "\n".join(lines) + "\n"


def as_cases(report: Report) -> str:
    """Questions for `firstline eval`: who knows the document takes the `#` away and names it."""
    asked = [question for question, _, _ in report.missing]
    asked += [each.question for each in report.bad]
    return "".join(f"# {question}\t-\n" for question in dict.fromkeys(asked))


def write_drafts(report: Report, folder: Path) -> int:
    """A draft for each good answer that everyone could read; how many were written. Nothing is
    known of them before an operator has read them and runs `knowledge add` on the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for each in report.good:
        if not each.public or not each.answer:
            continue
        name = _FILE_NAME.sub("-", each.question.casefold()).strip("-")[:60] or "answer"
        body = _MARKS.sub("", _SOURCES.sub("", each.answer))
        (folder / f"{name}.md").write_text(f"# {each.question}\n\n{body}\n", encoding="utf-8")
        written += 1
    return written


async def print_report(
    settings: Settings,
    tenant: str,
    *,
    days: int,
    cases: Path | None,
    drafts: Path | None,
    out: Callable[[str], None],
) -> int:
    async with open_stores(settings) as stores:
        report = await report_of(stores, tenant, days=days)
    out(as_markdown(report))
    if cases is not None:
        await asyncio.to_thread(_append, cases, as_cases(report))
    if drafts is not None:
        written = await asyncio.to_thread(write_drafts, report, drafts)
        out(f"{written} drafts written to {drafts}, {datetime.now(UTC):%Y-%m-%d}")
    return 0


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
