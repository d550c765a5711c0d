"""One model over the cases, through the product's own planner and prompt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

import msgspec

from adapters.models import openvino
from adapters.models.embedded import CAPABILITIES as SMOLLM
from adapters.models.embedded import check_model, find_embedded_model
from agents.events import PlanEnded, StepPlanned
from agents.planner import PlanLimits, Planner, PlanTask
from agents.ports import Capabilities, Delta, Finish, ModelBackend, ModelRequest, Queued, Usage
from agents.routing import Route, Router
from agents.steps import StepError, parse_step
from agents.turns import Image, Text, Turn
from benchmarks.quality.cases import Case
from benchmarks.quality.tools import toolbox
from benchmarks.quality.weights import find_weights
from tools.contract import Found, Seen, Tool, ToolCall, ToolContext
from tools.identity import ConversationKey, Place, Principal

Mode = Literal["constrained", "free"]
MODELS = ("qwen", "smollm2")
# Short answers: their wording is not measured. A step has 256 tokens besides.
LIMITS = PlanLimits(max_steps=3, max_seconds=300, max_answer_tokens=160, max_answer_chars=240,
                    first_token_timeout_s=120, gap_timeout_s=60)  # fmt: skip
_NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
_KEY = ConversationKey("test:t", "dm", "c")
_PERSON = Principal("test:t", "u", "member")
_PLACE = Place("test:t", "dm", "c")
_IMAGE = Image("00", "image/png", "screenshot.png")
_TOOLBOX = toolbox()


async def load(model: str) -> ModelBackend:
    """A real model on OpenVINO; raises `WeightsError` or `BackendError`."""
    if model == "smollm2":
        path, capabilities = find_embedded_model(), SMOLLM
        await asyncio.to_thread(check_model, path)
    else:
        path = await asyncio.to_thread(find_weights)
        capabilities = Capabilities(context_tokens=4096, constrained=True)
    return await openvino.load(model, path, template="chatml", capabilities=capabilities)


class Watched:
    """A backend whose every generation is kept; `free` takes the schema away from it."""

    def __init__(self, backend: ModelBackend, mode: Mode) -> None:
        self._backend, self._mode = backend, mode
        self.texts: list[str] = []
        self.usage = Usage()
        constrained = mode == "constrained" and backend.capabilities.constrained
        self.capabilities = replace(backend.capabilities, constrained=constrained)
        self.name = backend.name

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish | Queued, None]:
        if self._mode == "free":
            request = msgspec.structs.replace(request, schema=None)
        self.texts.append("")
        async with aclosing(self._backend.stream(request)) as items:
            async for item in items:
                if isinstance(item, Delta):
                    self.texts[-1] += item.text
                elif isinstance(item, Finish):
                    self._count(item.usage)
                yield item

    def _count(self, usage: Usage) -> None:
        self.usage = Usage(
            self.usage.prompt_tokens + usage.prompt_tokens,
            self.usage.completion_tokens + usage.completion_tokens,
        )

    async def count_tokens(self, text: str) -> int:
        return await self._backend.count_tokens(text)

    async def aclose(self) -> None:
        """The model is shared by both modes; its owner closes it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    case: Case
    calls: tuple[ToolCall, ...]
    generations: int
    malformed: tuple[str, ...]  # what was no valid step, before any retry
    planned: bool  # a valid step or answer came out in the end
    seconds: float

    @property
    def right_tools(self) -> bool:
        return self.planned and self.case.right_tools(self.calls)

    @property
    def right(self) -> bool:
        return self.planned and self.case.right_calls(self.calls)


@dataclass(slots=True)
class Score:
    """A run's figures."""

    outcomes: list[Outcome] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    @property
    def with_calls(self) -> list[Outcome]:
        return [each for each in self.outcomes if each.case.wanted]

    @property
    def without_calls(self) -> list[Outcome]:
        return [each for each in self.outcomes if not each.case.wanted]

    @property
    def tools_right(self) -> int:
        return sum(each.right_tools for each in self.with_calls)

    @property
    def arguments_right(self) -> int:
        return sum(each.right for each in self.with_calls)

    @property
    def silence_right(self) -> int:
        return sum(each.right_tools for each in self.without_calls)

    @property
    def generations(self) -> int:
        return sum(each.generations for each in self.outcomes)

    @property
    def malformed(self) -> int:
        return sum(len(each.malformed) for each in self.outcomes)

    @property
    def seconds_a_case(self) -> float:
        return sum(each.seconds for each in self.outcomes) / len(self.outcomes)


async def measure(
    backend: ModelBackend, cases: Sequence[Case], mode: Mode, *, verbose: bool = False
) -> Score:
    """Plan every case, each in a conversation of its own."""
    watched, score = Watched(backend, mode), Score()

    async def loaded() -> ModelBackend:
        return watched

    router = Router({"planner": [Route(backend.name, "openvino", "m", "local", loaded)]})
    planner = Planner(router, _TOOLBOX, LIMITS)
    for case in cases:
        watched.texts.clear()
        outcome = await _plan(planner, watched, case)
        score.outcomes.append(outcome)
        if verbose:
            _tell(outcome)
    score.usage = watched.usage
    return score


async def _plan(planner: Planner, watched: Watched, case: Case) -> Outcome:
    """The plan up to the calls that are wanted, or to its end: wording is not measured."""
    calls: list[ToolCall] = []
    planned = True
    started = time.perf_counter()
    async with aclosing(planner.run(_task(case))) as events:
        async for event in events:
            if isinstance(event, StepPlanned):
                calls += event.calls
                if len(calls) >= len(case.wanted):
                    break
            elif isinstance(event, PlanEnded):
                planned = event.state == "answered"
    seconds = time.perf_counter() - started
    tools = _TOOLBOX.offered(_PERSON, _PLACE, has_images=case.image)
    malformed = tuple(text for text in watched.texts if not _is_step(text, tools))
    return Outcome(case, tuple(calls), len(watched.texts), malformed, planned, seconds)


def _is_step(text: str, tools: Sequence[Tool]) -> bool:
    try:
        parse_step(text, tools, _TOOLBOX)
    except StepError:
        return False
    return True


def _task(case: Case) -> PlanTask:
    parts = (Text(case.ask), *((_IMAGE,) if case.image else ()))
    question = Turn("user", parts, said_at=_NOW.timestamp(), turn_id="t")
    return PlanTask(_KEY, _PERSON, _PLACE, (), question, "t", _NOW, _context_for)


def _context_for(call: ToolCall) -> ToolContext:
    return ToolContext(_PERSON, _PLACE, _KEY, f"t:{call.call_id}", lambda: _NOW, _search, _look)


async def _search(query: str, limit: int) -> list[Found]:
    return [Found("user", f"I said something about {query}.", _NOW.timestamp())][:limit]


async def _look(image: int, question: str) -> Seen:
    return Seen("Error 42, version 1.2.3", "ocr")


def _tell(outcome: Outcome) -> None:
    said = "; ".join(f"{call.name}({dict(call.arguments)})" for call in outcome.calls) or "-"
    mark = "ok  " if outcome.right else "tool" if outcome.right_tools else "MISS"
    print(f"{mark} {outcome.seconds:5.1f} s  {outcome.case.ask}  ->  {said}", flush=True)
    for text in outcome.malformed:
        print(f"       malformed: {text[:300]!r}", flush=True)
