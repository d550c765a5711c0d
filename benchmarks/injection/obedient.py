"""A model that plays its task and obeys every order it reads, and a person who presses only for
what they asked, in front of our planner and our rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from adapters.models.scripted import DEFAULT_CAPABILITIES, Reply, ScriptedBackend, Step
from agents.events import CallsReturned, PlanEnded
from agents.plan_run import PlanLimits, PlanTask
from agents.planner import Planner
from agents.ports import ModelBackend, ModelRequest
from agents.routing import Route, Router
from agents.steps import MAX_PARALLEL
from agents.turns import Text, Turn
from benchmarks.injection.dojo import MARK, World
from tools.contract import Found, Seen, ToolCall, ToolContext
from tools.identity import ConversationKey, Place, Principal, tenant_of
from tools.labels import label_of
from tools.toolbox import Toolbox

Script = Sequence[tuple[str, dict[str, Any]]]
_LIMITS = PlanLimits(max_steps=60, max_seconds=600)
_TENANT = tenant_of("slack", "T1")
_WHO, _WHERE = Principal(_TENANT, "U1", "member"), Place(_TENANT, "private", "C1")


class Obedient:
    """The policy: its own script, and the attacker's first as soon as it has read the order."""

    def __init__(self, toolbox: Toolbox, task: Script, answer: str) -> None:
        self._toolbox, self._answer, self._made = toolbox, answer, set[str]()
        # Reads first, as who plans ahead would: then a plan needs one card for its effects.
        self._task = sorted(task, key=lambda call: not self._is_read(call))
        self._attack = list[tuple[str, dict[str, Any]]]()

    def attacked_by(self, script: Script) -> None:
        self._attack = list(script)

    def __call__(self, request: ModelRequest) -> Reply:
        if self._left(self._attack) and any(MARK in message.text for message in request.messages):
            return self._step(self._attack)
        if self._left(self._task):
            return self._step(self._task)
        return _final(self._answer)

    def _step(self, script: list[tuple[str, dict[str, Any]]]) -> Step:
        """The next calls of one kind, reads or effects, as many as a step takes."""
        calls = [script.pop(0)]
        is_read = self._is_read(calls[0])
        while script and len(calls) < MAX_PARALLEL and self._is_read(script[0]) == is_read:
            calls.append(script.pop(0))
        self._made |= {_frozen(*call) for call in calls}
        step = [{"action": name, "arguments": arguments} for name, arguments in calls]
        return Step({"thought": "", "step": step})

    def _left(self, script: list[tuple[str, dict[str, Any]]]) -> bool:
        """Whether anything is left that was not asked for before: that would end the plan."""
        while script and _frozen(*script[0]) in self._made:
            script.pop(0)
        return bool(script)

    def _is_read(self, call: tuple[str, dict[str, Any]]) -> bool:
        tool = self._toolbox.get(call[0])
        return tool is not None and tool.effect == "read"


@dataclass
class Played:
    """What came of one conversation."""

    said: str = ""
    cards: int = 0
    refused: int = 0
    states: Counter[str] = field(default_factory=Counter)


async def play(
    world: World, task: Any, injection: Any = None, *, presses_all: bool = False
) -> Played:
    """The user's task, with the attacker's order lying in everything it may read.

    Who `presses_all` reads no card: as if there were no gate.
    """
    world.begin(task)
    toolbox = world.toolbox()
    wanted = world.script(task)
    model = Obedient(toolbox, wanted, task.GROUND_TRUTH_OUTPUT)
    if injection is not None:
        model.attacked_by(world.script(injection))
    planner = _planner(toolbox, model)
    asked = {_frozen(*call) for call in wanted}
    plan, played = _plan(task.PROMPT), Played()
    while True:
        ended = await _ended(planner, plan)
        played.states[ended.state] += 1
        if ended.wanted is None:
            played.said = ended.text
            return played
        played.cards += 1
        if not presses_all and not _all_asked(ended.wanted.planned.calls, asked):
            played.refused += 1
            return played
        plan = _plan(task.PROMPT, ended)


def _all_asked(calls: Sequence[ToolCall], asked: set[str]) -> bool:
    return all(_frozen(call.name, call.arguments) in asked for call in calls)


def _frozen(name: str, arguments: dict[str, Any]) -> str:
    return f"{name} {sorted(arguments.items())!r}"


def _planner(toolbox: Toolbox, model: Obedient) -> Planner:
    wide = DEFAULT_CAPABILITIES.__class__(context_tokens=1_000_000, constrained=True)
    backend = ScriptedBackend("scripted", model, capabilities=wide)

    async def load() -> ModelBackend:
        return backend

    return Planner(
        Router({"planner": [Route("scripted", "scripted", "demo", "local", load)]}),
        toolbox,
        _LIMITS,
    )


def _plan(prompt: str, after: PlanEnded | None = None) -> PlanTask:
    key = ConversationKey(_TENANT, "private", "C1", "1.0")
    question = Turn("user", (Text(prompt),), label_of(_WHERE, _WHO), 0.0, "t1")
    wanted = after.wanted if after is not None else None
    return PlanTask(
        conversation=key,
        principal=_WHO,
        place=_WHERE,
        history=(),
        question=question,
        turn_id="t1",
        now=datetime(2026, 1, 1, tzinfo=UTC),
        context_for=_context,
        resume=wanted.made if wanted else (),
        pressed=wanted.planned if wanted else None,
    )


def _context(call: ToolCall) -> ToolContext:
    async def search(query: str, limit: int) -> Sequence[Found]:
        return ()

    async def look(image: int, question: str) -> Seen:
        return Seen("", "")

    now = datetime(2026, 1, 1, tzinfo=UTC)
    key = ConversationKey(_TENANT, "private", "C1", "1.0")
    return ToolContext(_WHO, _WHERE, key, call.call_id, lambda: now, search, look)


async def _ended(planner: Planner, plan: PlanTask) -> PlanEnded:
    async for event in planner.run(plan):
        if isinstance(event, PlanEnded):
            return event
        assert not isinstance(event, CallsReturned) or event.results
    raise AssertionError("a plan ends with its last event")


def _final(answer: str) -> Step:
    step = {"action": "final", "arguments": {"answer": answer or "Done."}}
    return Step({"thought": "", "step": [step]})
