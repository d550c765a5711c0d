"""The memory window: turns become prompt messages, packed to a model's true token budget.

Whole exchanges are dropped from the oldest end, call and result together, and in big cuts:
the prompt of a turn starts with the tokens of the turn before it, until a cut comes. What a
message is cut to depends on the model alone, so it is the same in every later prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from agents.errors import PromptTooLong
from agents.ports import ModelBackend, PromptMessage
from agents.prompts.image_cost import images_cost
from agents.prompts.planner import facts_line, final_text, result_text, step_text
from agents.prompts.quoted import document_lines, quote_lines
from agents.prompts.templates import plain
from agents.turns import Called, Image, Returned, Text, Turn
from tools.contract import ToolResult
from tools.identity import Place

log = structlog.get_logger(__name__)

NOT_SEEN = "could not be looked at"
CUT_NOTE = "your message was too long for the model; its middle was left out"

# Shares of the room: the context window without the system text and the answer. The first
# four leave a twentieth for a correction.
_SUMMARY_SHARE = 0.15
_ABOUT_SHARE = 0.05
_MESSAGE_SHARE = 0.4  # one message of a person
_STEPS_SHARE = 0.35  # all steps of this turn
_RESULT_SHARE = 0.25  # one tool result
_STEADY_SHARE = 0.8  # history, in an ordinary turn: less is cut only where it must be
_CUT_SHARE = 0.4  # what a cut removes at least
_LEAST_RESULT = 32
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
        self._told: set[tuple[str, int]] = set()

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
        about: str = "",
    ) -> Window:
        """Everything of a turn's prompt that its steps don't change, rendered and counted."""
        counter = Counter(backend, self._counts)
        limit = max(backend.capabilities.context_tokens - answer_tokens, 0)
        fixed = await counter.sum(head)
        self._tell(backend, fixed)
        room = max(limit - fixed, 0)
        opening = [*head]
        if summary:
            told = PromptMessage("user", f"Summary of what was said before:\n{summary}")
            opening.append(await counter.cut(told, int(room * _SUMMARY_SHARE)))
        exchanges = await _fitted(counter, render(history, place), room)
        numbered = sum(len(turn.images) for turn in history)
        asked = PromptMessage("user", user_text(question, place, first_image=numbered + 1))
        last = await counter.cut(asked, int(room * _MESSAGE_SHARE))
        asking: tuple[PromptMessage, ...] = (last,)
        if about:  # right before the question: it may be another's in the next turn
            told = PromptMessage("user", f"About the person who asks, in their words:\n{about}")
            asking = (await counter.cut(told, int(room * _ABOUT_SHARE)), last)
        return Window(
            counter=counter,
            limit=limit,
            room=room,
            left=limit - fixed - await counter.sum((*opening[len(head) :], *asking)),
            opening=tuple(opening),
            exchanges=exchanges,
            costs=tuple([await counter.sum(exchange) for exchange in exchanges]),
            asking=asking,
            notes=(CUT_NOTE,) if last is not asked else (),
        )

    def _tell(self, backend: ModelBackend, fixed: int) -> None:
        """Log, once, what of a model's window is gone before anyone says a word."""
        if (backend.name, fixed) not in self._told:
            self._told.add((backend.name, fixed))
            context = backend.capabilities.context_tokens
            log.info("prompt.fixed", backend=backend.name, tokens=fixed, context_tokens=context)


class Counter:
    """Counts tokens for one backend as its prompt will have them; a text is counted once."""

    __slots__ = ("_backend", "_capabilities", "_counts", "name")

    def __init__(self, backend: ModelBackend, counts: dict[tuple[str, int, int], int]) -> None:
        self._backend, self._counts = backend, counts
        self._capabilities, self.name = backend.capabilities, backend.name

    def known(self, message: PromptMessage) -> int | None:
        """What the message costs, if its text was counted before."""
        # Keyed by hash, so that the counts don't keep the texts alive.
        text = message.text
        count = self._counts.get((self.name, hash(text), len(text)))
        if count is None:
            return None
        images = images_cost((message,), self._capabilities) if message.images else 0
        return count + self._capabilities.message_overhead_tokens + images

    async def cost(self, message: PromptMessage) -> int:
        while (cost := self.known(message)) is None:
            text = message.text
            # A tag a person typed is one token only until it is broken.
            count = await self._backend.count_tokens(plain(text))
            if len(self._counts) >= _CACHED_COUNTS:
                del self._counts[next(iter(self._counts))]
            self._counts[self.name, hash(text), len(text)] = count
        return cost

    async def sum(self, messages: Iterable[PromptMessage]) -> int:
        total = 0
        for message in messages:
            known = self.known(message)
            total += await self.cost(message) if known is None else known
        return total

    async def cut(self, message: PromptMessage, room: int) -> PromptMessage:
        """The message, its middle left out where it costs more than `room` tokens."""
        kept, keep = message, len(message.text)
        while (cost := await self.cost(kept)) > room and keep > _LEAST_CHARS:
            keep = max(_LEAST_CHARS, int(keep * min(room / cost, 1.0) * 0.9))
            kept = PromptMessage(message.role, cut_middle(message.text, keep), message.images)
        return kept

    async def cut_result(self, message: PromptMessage, room: int) -> PromptMessage:
        """Only results are cut: a step is JSON, and an answer is bounded by itself."""
        return await self.cut(message, room) if message.role == "user" else message


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A turn's prompt for one backend; `pack` adds the steps made so far."""

    counter: Counter
    limit: int  # tokens of a prompt
    room: int  # of the limit, after the head
    left: int  # of the limit, after head, summary, facts and question
    opening: tuple[PromptMessage, ...]
    exchanges: tuple[Exchange, ...]
    costs: tuple[int, ...]
    asking: tuple[PromptMessage, ...]  # what is known of the person, and the question
    notes: tuple[str, ...]

    @property
    def last(self) -> PromptMessage:
        """The question."""
        return self.asking[-1]

    @property
    def fill(self) -> float:
        """The share of the room that the whole history would take."""
        return sum(self.costs) / max(self.room, 1)

    async def pack(
        self, steps: Sequence[PromptMessage], extra: Sequence[PromptMessage] = ()
    ) -> Packed:
        """Head, summary, as much history as fits, the question, then `steps` and `extra`.

        Raises `PromptTooLong` when they don't fit with no history at all.
        """
        left = self.left - await self.counter.sum(extra)
        fitted = await self._steps(steps, left) if steps else ()
        left -= await self.counter.sum(fitted)
        if left < 0:
            raise PromptTooLong(self.counter.name, self.limit - left, self.limit)
        dropped = self._dropped(min(left, int(self.room * _STEADY_SHARE)))
        kept = [message for exchange in self.exchanges[dropped:] for message in exchange]
        return Packed((*self.opening, *kept, *self.asking, *fitted, *extra), self.notes)

    async def _steps(self, steps: Sequence[PromptMessage], left: int) -> Sequence[PromptMessage]:
        """Results cut ever shorter to fit their share; at worst the oldest steps go, each with
        its results."""
        counter, room = self.counter, int(self.room * _RESULT_SHARE)
        fitted = [await counter.cut_result(message, room) for message in steps]
        total = int(self.room * _STEPS_SHARE)
        while await counter.sum(fitted) > total and room > _LEAST_RESULT:
            room //= 2
            fitted = [await counter.cut_result(message, room) for message in steps]
        planned = [at for at, message in enumerate(fitted) if message.role == "assistant"]
        for at in planned[1:]:
            if await counter.sum(fitted) <= left:
                break
            fitted = fitted[at - len(steps) :]
        return fitted

    def _dropped(self, budget: int) -> int:
        """How many of the oldest exchanges go, so that the rest costs at most `budget`."""
        left, newest = sum(self.costs), len(self.costs) - 1
        step = max(1, int(self.room * _CUT_SHARE))
        dropped = before = 0
        while left > budget:
            # Cut points lie at fixed distances from the start, so they stay where they are.
            border = (before // step + 1) * step
            while dropped <= newest and before < border:
                if dropped == newest and left <= budget:
                    return dropped  # the distance is only for the sake of the ones before
                before += self.costs[dropped]
                left -= self.costs[dropped]
                dropped += 1
        return dropped


async def _fitted(
    counter: Counter, exchanges: Sequence[Sequence[PromptMessage]], room: int
) -> tuple[Exchange, ...]:
    """The exchanges as their own turns' prompts showed them."""
    asked_room, result_room = int(room * _MESSAGE_SHARE), int(room * _RESULT_SHARE)
    fitted: list[Exchange] = []
    for exchange in exchanges:
        kept: list[PromptMessage] = []
        for at, message in enumerate(exchange):
            limit = result_room if at else asked_room
            cost = counter.known(message)
            fits = cost is not None and cost <= limit
            kept.append(message if fits else await counter.cut_result(message, limit))
        fitted.append(tuple(kept))
    return tuple(fitted)


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
    """A person's turn as text: images appear as what vision said of them, never as pixels.

    Others' words come first: where a message is cut in its middle, the question stays.
    """
    lines = [facts_line(turn.said_at, place), *quote_lines(turn.quotes)]
    lines += document_lines(turn.documents)
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
