"""The memory window: turns become prompt messages, packed to a model's true token budget.

Whole exchanges are dropped from the oldest end, call and result together, and in big cuts:
the prompt of a turn starts with the tokens of the turn before it, until a cut comes.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agents.ports import ModelBackend, PromptMessage
from agents.prompts.planner import closing_facts, final_text, result_text, step_text
from agents.turns import Called, Image, Returned, Text, Turn
from tools.identity import Place

NOT_SEEN = "could not be looked at"
CUT_NOTE = "your message was too long for the model; its middle was left out"
_CUT_STEP = 0.4  # of the budget: how much a cut removes at least
_LAST_SHARE = 0.6  # of the budget: what the newest message may take
_CACHED_COUNTS = 20_000


class Packed(msgspec.Struct, frozen=True):
    messages: tuple[PromptMessage, ...]
    notes: tuple[str, ...] = ()


class Packer:
    """Packs prompts; token counts of texts are remembered per backend."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    async def pack(
        self,
        backend: ModelBackend,
        *,
        system: str,
        summary: str,
        history: Sequence[Turn],
        question: Turn,
        place: Place,
        reserve_tokens: int,
    ) -> Packed:
        """System, summary, as much history as fits, then the question.

        `reserve_tokens` are kept free for steps, results and the answer.
        """
        budget = backend.capabilities.context_tokens - reserve_tokens
        head = [PromptMessage("system", system)]
        if summary:
            head.append(PromptMessage("user", f"Summary of what was said before:\n{summary}"))
        for message in head:
            budget -= await self._cost(backend, message)
        budget = max(budget, 64)
        exchanges = render(history, place)
        numbered = sum(len(turn.images) for turn in history)
        last, cut = await self._fit(
            backend, user_text(question, place, first_image=numbered + 1), budget
        )
        budget -= await self._cost(backend, last)
        kept = await self._newest(backend, exchanges, budget)
        messages = (*head, *(message for exchange in kept for message in exchange), last)
        return Packed(messages, (CUT_NOTE,) if cut else ())

    async def _newest(
        self, backend: ModelBackend, exchanges: list[list[PromptMessage]], budget: int
    ) -> list[list[PromptMessage]]:
        costs = [sum([await self._cost(backend, m) for m in each]) for each in exchanges]
        left = sum(costs)
        step = max(1, int(budget * _CUT_STEP))
        dropped = before = 0
        while left > budget and dropped < len(exchanges):
            # Cut points lie at fixed distances from the start, so they stay where they are.
            border = (before // step + 1) * step
            while dropped < len(exchanges) and before < border:
                before += costs[dropped]
                left -= costs[dropped]
                dropped += 1
        return exchanges[dropped:]

    async def _fit(
        self, backend: ModelBackend, text: str, budget: int
    ) -> tuple[PromptMessage, bool]:
        """The newest message, its middle cut out if it alone would fill the window."""
        message, cut = PromptMessage("user", text), False
        room = int(budget * _LAST_SHARE)
        while (cost := await self._cost(backend, message)) > room and len(message.text) > 200:
            keep = max(100, int(len(message.text) * room / cost * 0.9))
            message = PromptMessage("user", cut_middle(text, keep))
            cut = True
        return message, cut

    async def _cost(self, backend: ModelBackend, message: PromptMessage) -> int:
        key = (backend.name, message.text)
        count = self._counts.get(key)
        if count is None:
            count = await backend.count_tokens(message.text)
            if len(self._counts) >= _CACHED_COUNTS:
                self._counts.clear()
            self._counts[key] = count
        return count + backend.capabilities.message_overhead_tokens


def render(history: Sequence[Turn], place: Place) -> list[list[PromptMessage]]:
    """Exchanges, oldest first: a person's turn with everything up to the next one."""
    exchanges: list[list[PromptMessage]] = []
    images = 0
    for turn in history:
        if turn.role == "user":
            exchanges.append(
                [PromptMessage("user", user_text(turn, place, first_image=images + 1))]
            )
            images += len(turn.images)
            continue
        if not exchanges:
            exchanges.append([])
        exchanges[-1] += _said(turn)
    return exchanges


def user_text(turn: Turn, place: Place, *, first_image: int) -> str:
    """A person's turn as text: images appear as what vision said of them, never as pixels."""
    lines = [turn.text] if turn.text else []
    lines += [_image_text(image, first_image + n) for n, image in enumerate(turn.images)]
    lines.append(closing_facts(turn.said_at, place))
    return "\n".join(lines)


def result_message(name: str, call_id: str, text: str) -> PromptMessage:
    return PromptMessage("user", result_text(name, call_id, text))


def cut_middle(text: str, keep: int) -> str:
    """The beginning and the end of the text, with a visible mark between."""
    if len(text) <= keep:
        return text
    head = keep * 2 // 3
    left_out = len(text) - keep
    return (
        f"{text[:head]}\n[… {left_out:,} characters left out …]\n{text[len(text) - keep + head :]}"
    )


def _said(turn: Turn) -> list[PromptMessage]:
    messages: list[PromptMessage] = []
    calls = [part.call for part in turn.parts if isinstance(part, Called)]
    if calls:
        planned = step_text([(call.name, call.arguments) for call in calls])
        messages.append(PromptMessage("assistant", planned))
    for part in turn.parts:
        if isinstance(part, Returned):
            result = part.result
            messages.append(result_message(result.name, result.call_id, result.text))
        elif isinstance(part, Text):
            messages.append(PromptMessage("assistant", final_text(part.text)))
    return messages


def _image_text(image: Image, number: int) -> str:
    name = f" “{image.name}”" if image.name else ""
    return f"[image {number}{name}: {image.seen or NOT_SEEN}]"
