"""JSON schemas in the subset that every constrained-decoding engine agrees on.

Objects, arrays, strings, integers, numbers, booleans, `enum`, `const` and `anyOf`; every
string and array is bounded, so that generation ends (facts: phi.md 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from tools.contract import JsonSchema

MAX_STRING = 400
MAX_ITEMS = 8
_MOST_ITEMS = 64
_MAX_DEPTH = 12
_KEPT = ("type", "enum", "const", "description", "minimum", "maximum", "minLength", "minItems")
_REFUSED = (
    "pattern", "format", "oneOf", "allOf", "not", "patternProperties", "propertyNames", "if",
    "prefixItems", "contains", "dependentRequired", "dependentSchemas", "$dynamicRef",
)  # fmt: skip
_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_SAYS_WHAT = ("type", "enum", "const", "anyOf")
_BESIDE_ANY_OF = ("type", "enum", "const", "properties", "items")
_EMPTY = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
_Definitions = Mapping[str, Mapping[str, Any]]


class SchemaError(Exception):
    """A schema uses what the engines disagree on; names the keyword and the place."""


def compile_schema(schema: Mapping[str, Any], *, where: str = "arguments") -> dict[str, Any]:
    """The schema with references inlined and every bound set; raises `SchemaError`.

    What fits the result fits the schema, but for `multipleOf`, `uniqueItems`, exclusive bounds
    of numbers and an object's count of fields: the tool checks those. Only the outermost
    object may be empty: a tool without parameters.
    """
    if schema.get("type") == "object" and not schema.get("properties"):
        if schema.get("additionalProperties"):
            raise _no_fields(where)
        return dict(_EMPTY)
    compiled = _compile(schema, schema.get("$defs", {}), where, ())
    if compiled.get("type") != "object":
        raise SchemaError(f"{where}: arguments are one object; name its fields in 'properties'")
    return compiled


def _compile(
    schema: object, definitions: _Definitions, where: str, within: tuple[str, ...]
) -> dict[str, Any]:
    """`within` are the types this one is a part of: its depth, and what it may not refer to."""
    if not isinstance(schema, Mapping):
        raise SchemaError(f"{where}: give it a type that says what it holds")
    if len(within) > _MAX_DEPTH:
        raise SchemaError(f"{where}: nested deeper than {_MAX_DEPTH}; make it flatter")
    if "$ref" in schema:
        return _inlined(schema, definitions, where, within)
    _check_keywords(schema, where)
    if "anyOf" in schema or isinstance(schema.get("type"), list):
        return _any_of(schema, definitions, where, within)
    compiled: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    if "enum" in schema or "const" in schema:
        return _constants(schema, compiled, where)
    _bounds(schema, compiled)
    if schema["type"] == "array":
        items = schema.get("items", {"type": "string"})
        compiled["items"] = _compile(items, definitions, f"{where}[]", (*within, ""))
        compiled["maxItems"] = min(schema.get("maxItems", MAX_ITEMS), _MOST_ITEMS)
    if schema["type"] == "object":
        _object(schema, compiled, definitions, where, within)
    _check_possible(compiled, where)
    return compiled


def _check_keywords(schema: Mapping[str, Any], where: str) -> None:
    for keyword in _REFUSED:
        if keyword in schema:
            raise SchemaError(
                f"{where}: {keyword!r} is not supported by every engine; use a plain str, int, "
                "float, bool, list, Literal or Enum and check the rest in the tool"
            )
    if not any(keyword in schema for keyword in _SAYS_WHAT):
        raise SchemaError(f"{where}: give it a type that says what it holds")
    kind = schema.get("type", "object")
    if not isinstance(kind, list) and kind not in _TYPES:
        raise SchemaError(f"{where}: 'type' {kind!r} is none of {', '.join(_TYPES)}")


def _inlined(
    schema: Mapping[str, Any], definitions: _Definitions, where: str, within: tuple[str, ...]
) -> dict[str, Any]:
    name = str(schema["$ref"]).removeprefix("#/$defs/")
    if name in within:
        raise SchemaError(f"{where}: {name} refers to itself; use a list of plain fields instead")
    if name not in definitions:
        raise SchemaError(f"{where}: '$ref' {schema['$ref']!r} is unknown; define it in '$defs'")
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    return _compile({**definitions[name], **beside}, definitions, where, (*within, name))


def _any_of(
    schema: Mapping[str, Any], definitions: _Definitions, where: str, within: tuple[str, ...]
) -> dict[str, Any]:
    """Either of several, and nothing beside them but a description."""
    told = {key: schema[key] for key in ("description",) if key in schema}
    if "anyOf" not in schema:  # a list of types
        kinds = {key: value for key, value in schema.items() if key != "description"}
        branches: list[Any] = [_of_kind(kinds, kind) for kind in schema["type"]]
    else:
        branches = schema["anyOf"]
        beside = [key for key in _BESIDE_ANY_OF if key in schema]
        if beside:
            raise SchemaError(f"{where}: move {beside[0]!r} into each branch of 'anyOf'")
    if not branches:
        raise SchemaError(f"{where}: 'anyOf' is empty; give it a type that says what it holds")
    inner = (*within, "")
    return {**told, "anyOf": [_compile(each, definitions, where, inner) for each in branches]}


def _of_kind(schema: Mapping[str, Any], kind: object) -> dict[str, Any]:
    """One type of a list, with those of its constants that are of it."""
    chosen = {**schema, "type": kind}
    if "enum" in schema:
        fits = Draft202012Validator({"type": kind}).is_valid
        chosen["enum"] = [value for value in schema["enum"] if fits(value)]
    return chosen


def _constants(schema: Mapping[str, Any], compiled: dict[str, Any], where: str) -> dict[str, Any]:
    """Constants say all there is: those that fit the bounds beside them, without the bounds."""
    bounds = {key: value for key, value in schema.items() if key not in ("enum", "const")}
    values = [schema["const"]] if "const" in schema else schema["enum"]
    if any(isinstance(value, list | dict) for value in values):
        raise SchemaError(f"{where}: 'enum' and 'const' hold texts and numbers only, no lists")
    fits = Draft202012Validator(bounds).is_valid
    fitting = [value for value in values if fits(value) and value in schema.get("enum", values)]
    if not fitting:
        raise SchemaError(f"{where}: no value is left in 'enum'; name those that are allowed")
    told: dict[str, Any] = {
        key: compiled[key] for key in ("type", "description") if key in compiled
    }
    return {**told, "const": fitting[0]} if "const" in schema else {**told, "enum": fitting}


def _bounds(schema: Mapping[str, Any], compiled: dict[str, Any]) -> None:
    kind = schema["type"]
    if kind == "string":
        compiled["maxLength"] = schema.get("maxLength", max(MAX_STRING, schema.get("minLength", 0)))
    if kind not in ("integer", "number"):
        return
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    over, under = (
        schema.get("exclusiveMinimum", -math.inf),
        schema.get("exclusiveMaximum", math.inf),
    )
    if kind == "integer":  # exclusive bounds of integers are ordinary bounds
        least, over = _up(least), _down(over) + 1
        most, under = _down(most), _up(under) - 1
    if (least := max(least, over)) > -math.inf:
        compiled["minimum"] = least
    if (most := min(most, under)) < math.inf:
        compiled["maximum"] = most


def _up(bound: float) -> float:
    return math.ceil(bound) if math.isfinite(bound) else bound


def _down(bound: float) -> float:
    return math.floor(bound) if math.isfinite(bound) else bound


def _check_possible(compiled: Mapping[str, Any], where: str) -> None:
    for least, most in (
        ("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"),
    ):  # fmt: skip
        if least in compiled and most in compiled and compiled[least] > compiled[most]:
            raise SchemaError(
                f"{where}: {least!r} is {compiled[least]} and {most!r} {compiled[most]}, so that "
                "nothing fits; widen one of them"
            )


def _object(
    schema: Mapping[str, Any],
    compiled: dict[str, Any],
    definitions: _Definitions,
    where: str,
    within: tuple[str, ...],
) -> None:
    properties = schema.get("properties", {})
    if not properties:
        raise _no_fields(where)
    compiled["properties"] = {
        name: _compile(value, definitions, f"{where}.{name}", (*within, ""))
        for name, value in properties.items()
    }
    missing = [name for name in schema.get("required", ()) if name not in properties]
    if missing:
        raise SchemaError(f"{where}: 'required' names {missing[0]!r}; give it in 'properties'")
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
