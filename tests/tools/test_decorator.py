"""`@tool`: what a function becomes, and what is refused with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from tests.agents.planning import context_for
from tools.contract import ToolCall, ToolContext, ToolError
from tools.decorator import tool
from tools.schema import SchemaError

CONTEXT = context_for(ToolCall("1", "x", {}))


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    x: int
    y: int


def test_a_typed_function_becomes_a_bounded_schema() -> None:
    @tool(effect="read")
    async def find(
        context: ToolContext,
        text: str,
        kind: Literal["a", "b"],
        colour: Colour,
        tags: list[str],
        size: Annotated[int, Field(ge=1, lt=10)],
        unit: str | None = None,
    ) -> str:
        """Find a thing.

        Not shown.
        """
        return text

    fields = find.parameters["properties"]
    assert find.description == "Find a thing."
    assert list(fields) == ["text", "kind", "colour", "tags", "size", "unit"]
    assert fields["text"] == {"type": "string", "maxLength": 400}
    assert fields["kind"]["enum"] == ["a", "b"]
    assert fields["colour"]["enum"] == ["red", "blue"]
    assert (fields["tags"]["maxItems"], fields["tags"]["items"]["maxLength"]) == (8, 400)
    assert (fields["size"]["minimum"], fields["size"]["maximum"]) == (1, 9)
    assert {"type": "null"} in fields["unit"]["anyOf"]
    assert find.parameters["required"] == list(fields)


async def test_arguments_arrive_as_the_declared_types_and_null_means_the_default() -> None:
    @tool(effect="read")
    async def draw(schema: Colour, at: Point, width: int = 3) -> str:
        """Draw."""
        return f"{schema.name} {at.x} {width}"

    arguments = {"schema": "red", "at": {"x": 1, "y": 2}, "width": None}
    assert await draw.run(CONTEXT, arguments) == "RED 1 3"


async def test_what_a_schema_can_not_say_is_checked_before_the_tool_runs() -> None:
    @tool(effect="read")
    async def halve(number: Annotated[float, Field(gt=0)]) -> str:
        """Halve."""
        return str(number / 2)

    with pytest.raises(ToolError, match="number: Input should be greater than 0"):
        await halve.run(CONTEXT, {"number": -1})


async def test_a_tool_without_parameters_is_possible() -> None:
    @tool(effect="read")
    def ping() -> str:
        """Say pong."""
        return "pong"

    assert await ping.run(CONTEXT, {}) == "pong"


def untyped(x) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Do."""
    return str(x)


def undocumented(x: str) -> str:
    return x


def dated(day: date) -> str:
    """Do."""
    return str(day)


def anything(x: Any) -> str:
    """Do."""
    return str(x)


def mapped(x: dict[str, int]) -> str:
    """Do."""
    return str(x)


def paired(x: tuple[int, str]) -> str:
    """Do."""
    return str(x)


def starred(*x: str) -> str:
    """Do."""
    return str(x)


def called(x: Callable[[], None]) -> str:
    """Do."""
    return str(x)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (untyped, r"untyped\.x: give it a type"),
        (undocumented, "write a docstring"),
        (dated, r"dated\.day: 'format' is not supported"),
        (anything, r"anything\.x: give it a type"),
        (mapped, r"mapped\.x: an object without named fields"),
        (paired, "'prefixItems' is not supported"),
        (starred, "called by names"),
        (called, "has no JSON schema"),
    ],
)
def test_what_no_model_can_be_held_to_is_refused_with_the_reason(
    function: Callable[..., Any], reason: str
) -> None:
    with pytest.raises(SchemaError, match=reason):
        tool(effect="read")(function)
