"""Answers from the team's own documents: looked up before the model is asked, checked after.

The gate and the check are code: what is not found is not answered, and what is cited was
retrieved and says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import structlog

from adapters.chat.safe_text import visible
from adapters.chat.sentences import mark, say
from agents.citations import (
    NOBODY_ASKED,
    SUPPORTED_AT,
    Checked,
    checked,
    in_other_words,
    quoted,
)
from agents.events import PlanEnded
from agents.rewriting import Rewriter
from agents.turns import Text, Turn
from bot.channels import SupportRule
from bot.health import Came, Metrics
from bot.knowledge import Found, Knowledge
from bot.running import RunningTurn
from tools.builtin.knowledge import PASSAGES
from tools.contract import KnowledgeSearch, Passage, ToolCall, ToolError
from tools.labels import audience_of

log = structlog.get_logger(__name__)

SEARCH = "search_knowledge"
NOT_THERE = "not in the documents"  # the reason of such a turn's end
_ASKED_CHARS = 300
_SEEN_CHARS = 200
_FOLLOW_UP_WORDS = 4  # a shorter question is taken together with the one before it
_MAY_FOLLOW_WORDS = 12
_NEAREST = 3
_WORDS = re.compile(r"\w+")
_LINK = re.compile(r"\[([^\]\n]{1,300})\]\((\S{1,2000}?)\)")
NOTHING = mark("I did not find this in my documents.")
NEAREST = mark("The nearest that I have:")
CALL = mark("`!human` calls a person of the team.")
SOURCES = mark("Sources")
QUOTED = mark("in the documents' own words: the model's answer did not hold against them")


class Support(NamedTuple):
    """The knowledge base, and the rules of channels."""

    knowledge: Knowledge
    rule_of: Callable[[str], SupportRule]
    can_call: Callable[[str], bool]  # whether a tenant has a team that can be called
    rewriter: Rewriter | None = None  # of follow-ups, where the operator named a small model

    def topics(self, turn: RunningTurn) -> tuple[str, ...]:
        """The sets that answers here rest on; empty: the model may search, and need not."""
        return self.rule_of(turn.claim.lease.key.channel).topics

    async def look_up(self, turn: RunningTurn, question: Turn, before: Sequence[Turn]) -> Found:
        """What the documents hold of the question; `turn.query` is what was looked for. Raises
        `ToolError`."""
        turn.query = query_of(question, before)
        if self.rewriter is not None and before and _may_follow(question.text):
            terms = turn.terms
            rewritten = await self.rewriter.stand_alone(
                question.text, before, local_only=terms.local_only, allowance=terms.allowance
            )
            turn.query = rewritten or turn.query
        return await self._search(turn, turn.query, PASSAGES)

    def searcher(self, turn: RunningTurn) -> KnowledgeSearch:
        """The tool's search: its passages are kept with the turn, and numbered through it."""

        async def search(query: str, limit: int) -> list[Passage]:
            found = await self._search(turn, query, limit)
            known = {(each.heading, each.text): each for each in turn.passages}
            told: list[Passage] = []
            for each, vector in zip(found.passages, found.vectors, strict=True):
                kept = known.get((each.heading, each.text))
                if kept is None:
                    kept = msgspec.structs.replace(each, number=len(turn.passages) + 1)
                    turn.passages.append(kept)
                    turn.vectors[kept.number] = vector
                told.append(kept)
            return told

        return search

    async def _search(self, turn: RunningTurn, query: str, limit: int) -> Found:
        """Once in a turn for a query: the tool finds what was looked up before."""
        if turn.terms.local_only and not self.knowledge.is_local:
            raise ToolError(
                "this conversation stays on this machine, and the documents are searched elsewhere"
            )
        if (found := turn.looked_up.get(query)) is None:
            found = turn.looked_up[query] = await self.knowledge.search(
                query,
                audience=audience_of(turn.last.place, turn.last.principal),
                topics=self.topics(turn) or None,
                limit=limit,
            )
        return found

    def not_there(self, turn: RunningTurn, found: Found) -> str:
        """The honest sentence, the nearest documents, and the way to a person."""
        lines = [say(turn.locale, NOTHING)]
        if self.can_call(turn.claim.lease.key.tenant):
            lines[0] += f" {say(turn.locale, CALL)}"
        nearest = list({each.title: each for each in found.passages}.values())[:_NEAREST]
        if nearest:
            lines += ["", say(turn.locale, NEAREST), *(f"- {_named(each)}" for each in nearest)]
        return "\n".join(lines)


def first_call(query: str) -> ToolCall:
    """The search that is made before the model is asked."""
    return ToolCall("1.1", SEARCH, {"query": query})


def query_of(question: Turn, before: Sequence[Turn]) -> str:
    """What to look for: the question, what was seen in its pictures, and for a short question
    the one it follows."""
    text = " ".join(question.text.split())
    if len(_WORDS.findall(text)) < _FOLLOW_UP_WORDS:
        earlier = [turn.text for turn in before if turn.role == "user" and turn.text.strip()]
        text = " ".join((*earlier[-1:], text))
    seen = " ".join(image.seen for image in question.images if image.seen)
    return " ".join((text[:_ASKED_CHARS], seen[:_SEEN_CHARS])).strip()[:_ASKED_CHARS] or "?"


def _may_follow(text: str) -> bool:
    """Longer questions say themselves what they are about."""
    return 0 < len(_WORDS.findall(text)) <= _MAY_FOLLOW_WORDS


async def verified(
    support: Support | None,
    turn: RunningTurn,
    ended: PlanEnded,
    asked: str,
    *,
    strictly: bool,
    metrics: Metrics,
) -> PlanEnded:
    """The answer with citations that hold and links that are known. `strictly`: one that mostly
    does not hold is given in the documents' own words instead."""
    said = _known_links(ended.text, turn.passages)
    alike = NOBODY_ASKED
    if support is not None and (claims := in_other_words(said, turn.passages)):
        alike = await support.knowledge.alike(claims, turn.vectors)
    answer = checked(said, turn.passages, alike)
    notes, held = ended.notes, round(answer.share * answer.claims)
    is_replaced = strictly and (not answer.cited or answer.share < SUPPORTED_AT)
    came: Came = "quoted" if is_replaced else "cited" if answer.cited else "uncited"
    metrics.supported(came, claims=answer.claims, held=held)
    log.info("support.checked", turn=turn.turn_id, came=came, claims=answer.claims, held=held)
    if is_replaced:
        answer, notes = quoted(asked, turn.passages), (*notes, QUOTED)
    text = f"{answer.text}{_sources(answer, turn.locale)}"
    *before, last = ended.turns
    told = msgspec.structs.replace(last, parts=(Text(text),))
    return msgspec.structs.replace(ended, text=text, notes=notes, turns=(*before, told))


async def searched(support: Support, turn: RunningTurn, query: str) -> None:
    """Have the passages of the first search at hand after a restart too."""
    try:
        await support.searcher(turn)(query, PASSAGES)
    except ToolError:
        return


def _sources(answer: Checked, locale: str) -> str:
    if not answer.cited:
        return ""
    rows = (f"{n}. {_named(each)}" for n, each in enumerate(answer.cited, start=1))
    return "\n".join(("", "", f"**{say(locale, SOURCES)}**", *rows))


def _named(passage: Passage) -> str:
    heading = visible(" ".join((passage.heading or passage.title).split()))[:160]
    plain = heading.replace("[", "(").replace("]", ")")
    return f"[{plain}]({passage.url})" if passage.url else plain


def _known_links(text: str, passages: Sequence[Passage]) -> str:
    """A link that no document has loses its address."""
    known = {each.url for each in passages if each.url}
    return _LINK.sub(lambda found: found[0] if found[2] in known else found[1], text)
