"""The committed cases, and whether planned calls are what a case asks for."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tools.builtin.arithmetic import evaluate
from tools.contract import ToolCall, ToolError

_FILE = Path(__file__).with_name("cases.toml")
Split = Literal["dev", "test"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One call a case asks for: the tool, and what its arguments must match."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    split: Split
    ask: str
    wanted: tuple[Wanted, ...] = ()  # none: no tool should be called
    image: bool = False

    def right_tools(self, calls: Sequence[ToolCall]) -> bool:
        """The wanted tools and no other, in any order."""
        return sorted(call.name for call in calls) == sorted(each.name for each in self.wanted)

    def right_calls(self, calls: Sequence[ToolCall]) -> bool:
        """The wanted tools with the wanted arguments; each call serves one wish."""
        left = list(calls)
        for wanted in self.wanted:
            found = next((call for call in left if _fits(wanted, call)), None)
            if found is None:
                return False
            left.remove(found)
        return not left


def load_cases() -> tuple[Case, ...]:
    with _FILE.open("rb") as file:
        entries = tomllib.load(file)["case"]
    return tuple(_case(entry) for entry in entries)


def _case(entry: Mapping[str, Any]) -> Case:
    wanted = tuple(_wanted(call) for call in entry.get("calls", ()))
    return Case(entry["split"], entry["ask"], wanted, entry.get("image", False))


def _wanted(call: Mapping[str, Any]) -> Wanted:
    # `name_` is an argument that happens to be called "name".
    arguments = {key.rstrip("_"): value for key, value in call.items() if key != "name"}
    return Wanted(call["name"], arguments)


def _fits(wanted: Wanted, call: ToolCall) -> bool:
    return call.name == wanted.name and all(
        name in call.arguments and matches(rule, call.arguments[name])
        for name, rule in wanted.arguments.items()
    )


def matches(rule: Any, value: Any) -> bool:
    """Whether an argument is what the rule says; see the head of cases.toml."""
    if isinstance(rule, list):
        return any(matches(each, value) for each in rule)
    if isinstance(rule, Mapping):
        return _comes_to(rule["value"], str(value))
    if isinstance(rule, str) and rule.startswith("~"):
        return re.search(rule[1:], str(value), re.IGNORECASE) is not None
    if isinstance(rule, str):
        return str(value).strip().casefold() == rule.casefold()
    return isinstance(value, int | float) and math.isclose(value, rule)


def _comes_to(number: float, expression: str) -> bool:
    try:
        return math.isclose(evaluate(expression), number, abs_tol=0.005)
    except ToolError:
        return False
