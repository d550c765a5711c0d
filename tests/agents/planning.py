"""A planner over scripted routes, a small toolbox, and what a plan said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from adapters.models.scripted import ScriptedBackend
from adapters.models.scripted_replies import Say, Step
from agents.events import AnswerDelta, PlanEnded, PlanEvent
from agents.planner import Planner, PlanTask
from agents.ports import ModelBackend, Placement
from agents.routing import Route, Router
from agents.turns import Text, Turn
from tools.contract import Found, Seen, ToolCall, ToolContext, ToolError
from tools.identity import ConversationKey, Place, Principal
from tools.toolbox import Toolbox, built_in_tools

KEY = ConversationKey("test:t", "dm", "c")
PERSON = Principal("test:t", "u", "member")
PLACE = Place("test:t", "dm", "c")
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


async def search(query: str, limit: int) -> list[Found]:
    return []


async def look(image: int, question: str) -> Seen:
    raise ToolError("there is no image")


def context_for(call: ToolCall) -> ToolContext:
    return ToolContext(PERSON, PLACE, KEY, f"t:{call.call_id}", lambda: NOW, search, look)


def route(backend: ModelBackend, placement: Placement = "local") -> Route:
    async def load() -> ModelBackend:
        return backend

    return Route(backend.name, "scripted", "m", placement, load)


def planner(*backends: ModelBackend, toolbox: Toolbox | None = None, **options: Any) -> Planner:
    router = Router({"planner": [route(backend) for backend in backends]})
    return Planner(router, toolbox or Toolbox(built_in_tools()), **options)


def user(text: str, turn_id: str = "t") -> Turn:
    return Turn("user", (Text(text),), said_at=NOW.timestamp(), turn_id=turn_id)


def task(text: str = "What is 17*23?", *, history: Sequence[Turn] = (), **options: Any) -> PlanTask:
    question = options.pop("question", user(text))
    return PlanTask(KEY, PERSON, PLACE, tuple(history), question, "t", NOW, context_for, **options)


def calls(*named: tuple[str, Mapping[str, Any]]) -> Step:
    return Step({"thought": "", "step": [{"action": n, "arguments": dict(a)} for n, a in named]})


def calculate(expression: str) -> Step:
    return calls(("calculate", {"expression": expression}))


def final(answer: str) -> Step:
    return calls(("final", {"answer": answer}))


async def events_of(planner: Planner, task: PlanTask) -> list[PlanEvent]:
    return [event async for event in planner.run(task)]


async def ended(planner: Planner, task: PlanTask) -> PlanEnded:
    last = (await events_of(planner, task))[-1]
    assert isinstance(last, PlanEnded)
    return last


def shown(events: Sequence[PlanEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, AnswerDelta))


__all__ = ["Say", "ScriptedBackend"]
