"""The step protocol: one model call gives one object, bound to one schema.

{"thought": "…", "step": {"action": "<tool>", "arguments": {…}}}
{"thought": "…", "step": [{"action": …}, {"action": …}]}          two to four at once
{"thought": "…", "step": {"action": "final", "arguments": {"answer": "…"}}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tools.contract import JsonSchema, Tool
from tools.toolbox import Toolbox

FINAL = "final"
MAX_THOUGHT_CHARS = 160
MAX_PARALLEL = 4
_MAX_STEP_CHARS = 256 * 1024
_MAX_NESTING = 32
_FENCE = re.compile(r"```(?:json)?\s*(\{.*\})\s*```", re.DOTALL)
_CALL_TAG = re.compile(r"<tool_call>\s*(\{.*\})\s*(?:</tool_call>|$)", re.DOTALL)


class StepError(Exception):
    """The text is not a step; the message is short and fit for the model."""


class PlannedCall(msgspec.Struct, frozen=True):
    name: str
    arguments: dict[str, Any]


class Step(msgspec.Struct, frozen=True):
    """Either calls, or the final answer."""

    thought: str
    calls: tuple[PlannedCall, ...] = ()
    answer: str | None = None


def step_schema(tools: Sequence[Tool], *, max_answer_chars: int) -> JsonSchema:
    """The schema of one step for exactly these tools."""
    calls = [_branch(tool.name, tool.parameters) for tool in tools]
    answer = {"type": "string", "maxLength": max_answer_chars}
    final = _branch(FINAL, _object({"answer": answer}))
    together = {"type": "array", "items": {"anyOf": calls}, "minItems": 2, "maxItems": MAX_PARALLEL}
    branches = [*calls, final, *([together] if calls else [])]
    thought = {"type": "string", "maxLength": MAX_THOUGHT_CHARS}
    return _object({"thought": thought, "step": {"anyOf": branches}})


def parse_step(text: str, tools: Sequence[Tool], toolbox: Toolbox) -> Step:
    """Read one step strictly, after one local repair; raises `StepError` only."""
    value = _read(text)
    if set(value) != {"thought", "step"} or not isinstance(value["thought"], str):
        raise StepError('the object must have exactly the keys "thought" and "step"')
    step = value["step"]
    if isinstance(step, dict) and step.get("action") == FINAL:
        return Step(value["thought"], answer=_answer(step))
    listed = step if isinstance(step, list) else [step]
    if not 1 <= len(listed) <= MAX_PARALLEL:
        raise StepError(f'"step" may list at most {MAX_PARALLEL} calls')
    names = {tool.name for tool in tools}
    return Step(value["thought"], tuple(_call(item, names, toolbox) for item in listed))


def looks_like_a_call(text: str) -> bool:
    """Whether showing the text would show raw calls or JSON to a person."""
    return any(mark in text for mark in ("{", "}", "<tool", "<|", '"action"', "```json"))


def _branch(name: str, arguments: JsonSchema) -> JsonSchema:
    return _object({"action": {"const": name}, "arguments": arguments})


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _answer(step: Mapping[str, Any]) -> str:
    arguments = step.get("arguments")
    if isinstance(arguments, dict) and isinstance(arguments.get("answer"), str):
        return str(arguments["answer"])
    raise StepError('the action "final" needs {"answer": "<text>"} as arguments')


def _call(item: object, names: set[str], toolbox: Toolbox) -> PlannedCall:
    if not isinstance(item, dict) or set(item) != {"action", "arguments"}:
        raise StepError('a call must have exactly the keys "action" and "arguments"')
    name, arguments = item["action"], item["arguments"]
    if not isinstance(name, str) or name not in names:
        raise StepError(f"the action must be one of: {', '.join([*sorted(names), FINAL])}")
    if reason := toolbox.check(name, arguments):
        raise StepError(f"{name}: {reason}")
    return PlannedCall(name, arguments)


def _read(text: str) -> dict[str, Any]:
    if len(text) > _MAX_STEP_CHARS:
        raise StepError("the answer is far too long")
    for candidate in _candidates(text):
        if _nesting(candidate) > _MAX_NESTING:
            raise StepError("the object is nested too deep")
        try:
            value = json.loads(
                candidate, object_pairs_hook=_no_duplicates, parse_constant=_no_constant
            )
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    raise StepError("the answer must be one JSON object and nothing else")


def _candidates(text: str) -> list[str]:
    """The text itself, then what one local repair makes of it."""
    matches = (pattern.search(text) for pattern in (_FENCE, _CALL_TAG))
    found = [text, *(match[1] for match in matches if match)]
    first, last = text.find("{"), text.rfind("}")
    if 0 <= first < last:
        found.append(text[first : last + 1])
    return found


def _nesting(text: str) -> int:
    """An upper bound of the nesting, without parsing."""
    depth = deepest = 0
    for character in text:
        if character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    return deepest


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate keys")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
