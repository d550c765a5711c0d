"""The step protocol: one model call gives one object, bound to one schema.

{"thought": "…", "step": [{"action": "<tool>", "arguments": {…}}]}      one to four at once
{"thought": "…", "step": [{"action": "final", "arguments": {"answer": "…"}}]}

The step is always a list: tiny models choose the tool well and the shape badly. A single
object in its place is read as a list of one. A tool without parameters has no "arguments".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from agents.prompts.planner import FINAL
from tools.contract import JsonSchema, Tool
from tools.toolbox import Toolbox

MAX_THOUGHT_CHARS = 160
MAX_PARALLEL = 4
_MAX_STEP_CHARS = 256 * 1024
_MAX_NESTING = 32
# Strings whole, so that brackets in them don't count; possessive, so that it stays linear.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[][{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WRAPPED = (("```", "```"), ("<tool_call>", "</tool_call>"))


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
    final = _listed(_branch(FINAL, _object({"answer": answer})), most=1)
    branches = [_listed({"anyOf": calls}, most=MAX_PARALLEL), final] if calls else [final]
    thought = {"type": "string", "maxLength": MAX_THOUGHT_CHARS}
    return _object({"thought": thought, "step": {"anyOf": branches}})


def parse_step(text: str, tools: Sequence[Tool], toolbox: Toolbox) -> Step:
    """Read one step strictly, after one local repair; raises `StepError` only."""
    value = _read(text)
    if set(value) != {"thought", "step"} or not isinstance(value["thought"], str):
        raise StepError('the object must have exactly the keys "thought" and "step"')
    step = value["step"]
    listed = step if isinstance(step, list) else [step]
    if not 1 <= len(listed) <= MAX_PARALLEL:
        raise StepError(f'"step" must list 1 to {MAX_PARALLEL} calls')
    if len(listed) == 1 and isinstance(listed[0], dict) and listed[0].get("action") == FINAL:
        return Step(value["thought"], answer=_answer(listed[0]))
    names = {tool.name for tool in tools}
    return Step(value["thought"], tuple(_call(item, names, toolbox) for item in listed))


def looks_like_a_call(text: str) -> bool:
    """Whether showing the text would show raw calls or JSON to a person."""
    return any(mark in text for mark in ("{", "}", "<tool", "<|", '"action"', "```json"))


def _branch(name: str, arguments: JsonSchema) -> JsonSchema:
    """Engines disagree on objects without properties, so none is ever asked for."""
    action = {"action": {"const": name}}
    return _object({**action, "arguments": arguments} if arguments["properties"] else action)


def _listed(items: JsonSchema, *, most: int) -> JsonSchema:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


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
    if not isinstance(item, dict) or not {"action"} <= set(item) <= {"action", "arguments"}:
        raise StepError('a call must have exactly the keys "action" and "arguments"')
    name, arguments = item["action"], item.get("arguments", {})
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
            value = _loads(candidate)
        except _DuplicateKeyError as error:
            raise StepError("a key is given twice") from error
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    raise StepError("the answer must be one JSON object and nothing else")


def _candidates(text: str) -> Iterator[str]:
    """The text itself, then what one local repair makes of it."""
    yield text
    for opening, closing in _WRAPPED:
        _, found, inner = text.partition(opening)
        if found:
            yield from _outermost(inner.partition(closing)[0])
    yield from _outermost(text)


def _outermost(text: str) -> Iterator[str]:
    """From the first brace to the last."""
    first, last = text.find("{"), text.rfind("}")
    if 0 <= first < last:
        yield text[first : last + 1]


def _nesting(text: str) -> int:
    """How deep brackets nest outside of strings, without parsing."""
    depth = deepest = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        mark = match[0]
        if mark in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "}]":
            depth -= 1
    return deepest


def _loads(text: str) -> Any:
    # Not strict: models write line breaks into strings as they are.
    value = json.loads(
        text, strict=False, object_pairs_hook=_no_duplicates, parse_constant=_no_constant
    )
    return _clean(value) if "\\u" in text or _SURROGATE.search(text) else value


def _clean(value: Any) -> Any:
    """The value without lone surrogates, which can be neither stored nor sent."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value


class _DuplicateKeyError(Exception):
    pass


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _DuplicateKeyError
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
