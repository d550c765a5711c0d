"""What a LangChain caller offers the model: its tools, and which of them it must use."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from adapters.langchain.prompts import call_mark
from adapters.langchain.schemas import planned_tool
from agents.prompts.planner import FINAL
from agents.steps import Step, StepError, parse_step, step_schema
from tools.contract import JsonSchema
from tools.toolbox import Toolbox

ToolChoice = str | Mapping[str, Any] | bool | None
_FREE = (None, False, "auto", "none")
_ANY = (True, "any", "required")
_FINAL_BRANCH = json.dumps({"const": FINAL})


def tool_spec(tool: dict[str, Any] | type | Callable[..., Any] | BaseTool) -> dict[str, Any]:
    """A tool in LangChain's common form, with our example where the tool carries one."""
    spec = convert_to_openai_tool(tool)
    example = (tool.metadata or {}).get("example") if isinstance(tool, BaseTool) else None
    return {**spec, "example": example} if example else spec


class Offer:
    """The tools of one model call, as our planner's schema and checks."""

    def __init__(
        self,
        specs: Sequence[Mapping[str, Any]],
        choice: ToolChoice,
        *,
        max_answer_chars: int,
        one_call: bool = False,
    ) -> None:
        planned = {tool.name: (tool, parameters) for tool, parameters in map(planned_tool, specs)}
        self.must_call = choice not in _FREE
        name = _chosen(choice)
        if name is not None:
            if name not in planned:
                known = ", ".join(planned)
                raise ValueError(f"tool_choice names {name!r}; the bound tools are: {known}")
            planned = {name: planned[name]}
        self.tools = tuple(tool for tool, _ in planned.values())
        self._parameters = {name: parameters for name, (_, parameters) in planned.items()}
        self._toolbox = Toolbox(self.tools)
        self._one_call, self._max_answer_chars = one_call, max_answer_chars
        schema = step_schema(self.tools, max_answer_chars=max_answer_chars)
        self.schema = _without_final(schema) if self.must_call else schema

    def parse(self, text: str) -> Step:
        """Read one step; raises `StepError` only."""
        step = parse_step(text, self.tools, self._toolbox)
        if step.answer is not None and self.must_call:
            raise StepError(f"use one of: {', '.join(tool.name for tool in self.tools)}")
        return Step(step.thought, step.calls[:1], step.answer) if self._one_call else step

    def repeats(self, step: Step, done: Container[str]) -> bool:
        """Whether every call of the step was made and answered before."""
        if self.must_call or not step.calls:
            return False
        made = [(call.name, self.given(call.name, call.arguments)) for call in step.calls]
        return all(call_mark(name, arguments) in done for name, arguments in made)

    def without_tools(self) -> Offer:
        return Offer((), None, max_answer_chars=self._max_answer_chars)

    def given(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """A call's arguments without those the model left to the tool."""
        return self._parameters[name].given(arguments)


def _chosen(choice: ToolChoice) -> str | None:
    """The one tool that is asked for by name."""
    if isinstance(choice, Mapping):
        return str(choice.get("function", choice).get("name"))
    return str(choice) if choice not in (*_FREE, *_ANY) else None


def _without_final(schema: JsonSchema) -> JsonSchema:
    properties = schema["properties"]
    branches = properties["step"]["anyOf"]
    calling = [each for each in branches if _FINAL_BRANCH not in json.dumps(each)]
    return {**schema, "properties": {**properties, "step": {"anyOf": calling}}}
