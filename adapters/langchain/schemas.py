"""LangChain's tool specs as the schemas our planner binds a step to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.contract import JsonSchema, Labelled, Tool, ToolContext, ToolError
from tools.schema import compile_schema

_NULL = {"type": "null"}


@dataclass(frozen=True, slots=True)
class Parameters:
    """A tool's arguments. Our schemas require every argument, so an optional one may be null."""

    schema: JsonSchema
    optional: frozenset[str]

    @classmethod
    def compile(cls, described: Mapping[str, Any], *, where: str) -> Parameters:
        """Raises `SchemaError` for what not every decoding engine knows."""
        properties = described.get("properties", {})
        optional = frozenset(properties) - frozenset(described.get("required", ()))
        opened = {
            name: _nullable(each) if name in optional else each for name, each in properties.items()
        }
        whole = {"type": "object", **described, "properties": opened}
        return cls(compile_schema(whole, where=where), optional)

    def given(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments without those that were left to the tool."""
        return {
            name: value
            for name, value in arguments.items()
            if not (value is None and name in self.optional)
        }


def planned_tool(spec: Mapping[str, Any]) -> tuple[Tool, Parameters]:
    """A tool as the planner's prompt and schema need it, from `convert_to_openai_tool`'s form."""
    function = spec["function"]
    parameters = Parameters.compile(function.get("parameters") or {}, where=function["name"])
    tool = Tool(
        name=function["name"],
        description=" ".join(str(function.get("description", "")).split()),
        parameters=parameters.schema,
        run=_not_run_here,
        example=spec.get("example"),
    )
    return tool, parameters


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    branches = schema.get("anyOf", [schema])
    described = {"description": schema["description"]} if "description" in schema else {}
    return {"anyOf": [*branches, *([] if _NULL in branches else [_NULL])], **described}


async def _not_run_here(context: ToolContext, arguments: Mapping[str, Any]) -> str | Labelled:
    raise ToolError("the agent runs its own tools")
