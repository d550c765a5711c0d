"""The memory window: turns become prompt messages, packed to a model's true token budget.

Whole exchanges are dropped from the oldest end, call and result together, and in big cuts:
the prompt of a turn starts with the tokens of the turn before it, until a cut comes. What a
message is cut to depends on the model alone, so it is the same in every later prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from agents.ports import ModelBackend, PromptMessage
from agents.prompts.planner import facts_line, final_text, result_text, step_text
from agents.turns import Called, Image, Returned, Text, Turn
from tools.contract import ToolResult
from tools.identity import Place

NOT_SEEN = "could not be looked at"
CUT_NOTE = "your message was too long for the model; its middle was left out"

# Shares of the room: the context window without the system text and the answer.
_MESSAGE_SHARE = 0.45  # one message of a person
_STEPS_SHARE = 0.5  # all steps of this turn
_RESULT_SHARE = 0.25  # one tool result
_STEADY_SHARE = 0.8  # history, in an ordinary turn: less is cut only where it must be
_CUT_SHARE = 0.4  # what a cut removes at least
_LEAST_ROOM = 256
_LEAST_CHARS = 100
_CACHED_COUNTS = 20_000

Exchange = tuple[PromptMessage, ...]


class Packed(msgspec.Struct, frozen=True):
    messages: tuple[PromptMessage, ...]
    notes: tuple[str, ...] = ()


class Packer:
    """Opens windows; token counts of texts are remembered per backend."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int, int], int] = {}

    async def open(
        self,
        backend: ModelBackend,
        *,
        head: Sequence[PromptMessage],
        summary: str,
        history: Sequence[Turn],
        question: Turn,
        place: Place,
        answer_tokens: int,
    ) -> Window:
        """Everything of a turn's prompt that its steps don't change, rendered and counted."""
        counter = Counter(backend, self._counts)
        room = backend.capabilities.context_tokens - answer_tokens - await counter.sum(head)
        room = max(room, _LEAST_ROOM)
        opening = [*head]
        if summary:
            told = PromptMessage("user", f"Summary of what was said before:\n{summary}")
            opening.append(await counter.cut(told, int(room * _MESSAGE_SHARE)))
        exchanges = [await _fitted(counter, exchange, room) for exchange in render(history, place)]
        numbered = sum(len(turn.images) for turn in history)
        asked = PromptMessage("user", user_text(question, place, first_image=numbered + 1))
        last = await counter.cut(asked, int(room * _MESSAGE_SHARE))
        return Window(
            counter=counter,
            room=room,
            left=room - await counter.sum((*opening[len(head) :], last)),
            opening=tuple(opening),
            exchanges=tuple(exchanges),
            costs=tuple([await counter.sum(exchange) for exchange in exchanges]),
            last=last,
            notes=(CUT_NOTE,) if last is not asked else (),
        )


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts tokens for one backend; a text is counted once."""

    backend: ModelBackend
    counts: dict[tuple[str, int, int], int]

    async def cost(self, message: PromptMessage) -> int:
        # Keyed by hash, so that the counts don't keep the texts alive.
        key = (self.backend.name, hash(message.text), len(message.text))
        count = self.counts.get(key)
        if count is None:
            count = await self.backend.count_tokens(message.text)
            if len(self.counts) >= _CACHED_COUNTS:
                del self.counts[next(iter(self.counts))]
            self.counts[key] = count
        return count + self.backend.capabilities.message_overhead_tokens

    async def sum(self, messages: Sequence[PromptMessage]) -> int:
        return sum([await self.cost(message) for message in messages])

    async def cut(self, message: PromptMessage, room: int) -> PromptMessage:
        """The message, its middle left out where it costs more than `room` tokens."""
        kept, keep = message, len(message.text)
        while (cost := await self.cost(kept)) > room and keep > _LEAST_CHARS:
            keep = max(_LEAST_CHARS, int(keep * min(room / cost, 1.0) * 0.9))
            kept = PromptMessage(message.role, cut_middle(message.text, keep))
        return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A turn's prompt for one backend; `pack` adds the steps made so far."""

    counter: Counter
    room: int
    left: int  # of the room, after the summary and the question
    opening: tuple[PromptMessage, ...]
    exchanges: tuple[Exchange, ...]
    costs: tuple[int, ...]
    last: PromptMessage
    notes: tuple[str, ...]

    async def pack(
        self, steps: Sequence[PromptMessage], extra: Sequence[PromptMessage] = ()
    ) -> Packed:
        """Head, summary, as much history as fits, the question, then `steps` and `extra`."""
        fitted = await self._steps(steps) if steps else ()
        left = self.left - await self.counter.sum((*fitted, *extra))
        dropped = self._dropped(min(left, int(self.room * _STEADY_SHARE)))
        kept = [message for exchange in self.exchanges[dropped:] for message in exchange]
        return Packed((*self.opening, *kept, self.last, *fitted, *extra), self.notes)

    async def _steps(self, steps: Sequence[PromptMessage]) -> Sequence[PromptMessage]:
        room = int(self.room * _RESULT_SHARE)
        fitted = [await _cut_result(self.counter, message, room) for message in steps]
        total = int(self.room * _STEPS_SHARE)
        while await self.counter.sum(fitted) > total and room > _LEAST_ROOM // 8:
            room //= 2
            fitted = [await _cut_result(self.counter, message, room) for message in steps]
        return fitted

    def _dropped(self, budget: int) -> int:
        """How many of the oldest exchanges go, so that the rest costs at most `budget`."""
        left = sum(self.costs)
        step = max(1, int(self.room * _CUT_SHARE))
        dropped = before = 0
        while left > budget and dropped < len(self.costs):
            # Cut points lie at fixed distances from the start, so they stay where they are.
            border = (before // step + 1) * step
            while dropped < len(self.costs) and before < border:
                before += self.costs[dropped]
                left -= self.costs[dropped]
                dropped += 1
        return dropped


async def _fitted(counter: Counter, exchange: Sequence[PromptMessage], room: int) -> Exchange:
    """The exchange as its own turn's prompt showed it."""
    asked = [await counter.cut(exchange[0], int(room * _MESSAGE_SHARE))] if exchange else []
    result_room = int(room * _RESULT_SHARE)
    return (*asked, *[await _cut_result(counter, each, result_room) for each in exchange[1:]])


async def _cut_result(counter: Counter, message: PromptMessage, room: int) -> PromptMessage:
    """Only results are cut: a step is JSON, and an answer is bounded by itself."""
    return await counter.cut(message, room) if message.role == "user" else message


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
    lines = [facts_line(turn.said_at, place)]
    if turn.text:
        lines.append(turn.text)
    lines += [_image_text(image, first_image + n) for n, image in enumerate(turn.images)]
    return "\n".join(lines)


def result_message(result: ToolResult) -> PromptMessage:
    return PromptMessage("user", result_text(result.name, result.call_id, result.text))


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
    calls = [
        (part.call.name, part.call.arguments) for part in turn.parts if isinstance(part, Called)
    ]
    if calls:
        messages.append(PromptMessage("assistant", step_text(calls)))
    for part in turn.parts:
        if isinstance(part, Returned):
            messages.append(result_message(part.result))
        elif isinstance(part, Text):
            messages.append(PromptMessage("assistant", final_text(part.text)))
    return messages


def _image_text(image: Image, number: int) -> str:
    name = f" “{image.name}”" if image.name else ""
    return f"[image {number}{name}: {image.seen or NOT_SEEN}]"
