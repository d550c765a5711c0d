"""JSON schemas in the subset that every constrained-decoding engine agrees on.

Objects, arrays, strings, integers, numbers, booleans, `enum`, `const` and `anyOf`; every
string and array is bounded, so that generation ends (facts: phi.md 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from tools.contract import JsonSchema

MAX_STRING = 400
MAX_ITEMS = 8
_KEPT = ("type", "enum", "const", "description", "minimum", "maximum", "minLength", "minItems")
_REFUSED = (
    "pattern", "format", "oneOf", "allOf", "not", "patternProperties", "if", "prefixItems",
)  # fmt: skip
_SAYS_WHAT = ("type", "enum", "const", "anyOf")


class SchemaError(Exception):
    """A schema uses what the engines disagree on; names the keyword and the place."""


def compile_schema(schema: Mapping[str, Any], *, where: str = "arguments") -> dict[str, Any]:
    """The schema with references inlined and every bound set; raises `SchemaError`.

    Only the outermost object may be empty: a tool without parameters.
    """
    if schema.get("type") == "object" and not schema.get("properties"):
        if schema.get("additionalProperties"):
            raise _no_fields(where)
        return {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    return _compile(schema, schema.get("$defs", {}), where, depth=0)


def _compile(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], where: str, depth: int
) -> dict[str, Any]:
    if depth > 12:
        raise SchemaError(f"{where}: nested deeper than 12, or a type that refers to itself")
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        inlined = {**definitions[name], **{k: v for k, v in schema.items() if k != "$ref"}}
        return _compile(inlined, definitions, where, depth + 1)
    for keyword in _REFUSED:
        if keyword in schema:
            raise SchemaError(
                f"{where}: {keyword!r} is not supported by every engine; use a plain str, int, "
                "float, bool, list, Literal or Enum and check the rest in the tool"
            )
    if not any(keyword in schema for keyword in _SAYS_WHAT):
        raise SchemaError(f"{where}: give it a type that says what it holds")
    compiled: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    _bounds(schema, compiled)
    if "anyOf" in schema:
        compiled["anyOf"] = [
            _compile(branch, definitions, where, depth + 1) for branch in schema["anyOf"]
        ]
    if schema.get("type") == "array":
        items = schema.get("items", {"type": "string"})
        compiled["items"] = _compile(items, definitions, f"{where}[]", depth + 1)
        compiled["maxItems"] = min(schema.get("maxItems", MAX_ITEMS), 64)
    if schema.get("type") == "object":
        _object(schema, compiled, definitions, where, depth)
    return compiled


def _bounds(schema: Mapping[str, Any], compiled: dict[str, Any]) -> None:
    if schema.get("type") == "string" and "enum" not in schema and "const" not in schema:
        compiled["maxLength"] = schema.get("maxLength", MAX_STRING)
    if schema.get("type") == "integer":  # exclusive bounds of integers are ordinary bounds
        if "exclusiveMinimum" in schema:
            compiled["minimum"] = schema["exclusiveMinimum"] + 1
        if "exclusiveMaximum" in schema:
            compiled["maximum"] = schema["exclusiveMaximum"] - 1


def _object(
    schema: Mapping[str, Any],
    compiled: dict[str, Any],
    definitions: Mapping[str, Any],
    where: str,
    depth: int,
) -> None:
    properties = schema.get("properties", {})
    if not properties:
        raise _no_fields(where)
    compiled["properties"] = {
        name: _compile(value, definitions, f"{where}.{name}", depth + 1)
        for name, value in properties.items()
    }
    compiled["required"] = list(properties)
    compiled["additionalProperties"] = False


def _no_fields(where: str) -> SchemaError:
    return SchemaError(
        f"{where}: an object without named fields is not supported by every engine; use a "
        "TypedDict or a pydantic model with at least one field"
    )


def checker(schema: JsonSchema) -> Callable[[object], str | None]:
    """A quick check against the schema: None when it fits, else a short model-readable reason.

    The reason names the place and the rule, and repeats no value.
    """
    validator = Draft202012Validator(schema)

    def check(value: object) -> str | None:
        if validator.is_valid(value):
            return None
        error = next(iter(validator.iter_errors(value)))
        place = ".".join(str(part) for part in error.absolute_path) or "arguments"
        if error.validator == "required":
            missing = [name for name in error.schema["required"] if name not in error.instance]
            return f"{place}: {', '.join(missing)} missing"
        if error.validator == "additionalProperties":
            allowed = ", ".join(error.schema["properties"]) or "nothing"
            return f"{place}: only {allowed} allowed"
        return f"{place}: must satisfy {error.validator} {_shown(error.validator_value)}"

    return check


def _shown(rule: object) -> str:
    text = str(rule)
    return text if len(text) <= 200 else text[:199] + "…"
