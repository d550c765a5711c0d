"""How an answer's schema is sent: the forms services understand, and OpenAI's strict subset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from agents.ports import ModelRequest, PromptMessage
from tools.contract import JsonSchema

# strict: response_format json_schema in OpenAI's subset · json_schema: the same, bounds kept ·
# structured_outputs: vLLM's own field · nvext: NIM 1.x · json_object, none: told in words only.
SchemaMode = Literal["strict", "json_schema", "structured_outputs", "nvext", "json_object", "none"]
ENFORCED: tuple[SchemaMode, ...] = ("strict", "json_schema", "structured_outputs", "nvext")
# What strict mode refuses, as Azure lists it; whoever asked validates with the whole schema.
# https://learn.microsoft.com/azure/ai-services/openai/how-to/structured-outputs
STRICT_REFUSES = frozenset(
    {
        *("minLength", "maxLength", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains"),
        *("unevaluatedItems", "patternProperties", "unevaluatedProperties", "propertyNames"),
        *("minProperties", "maxProperties", "default"),
    }
)
_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}

# No model says this of its own accord: an answer that fits shows that the schema is enforced.
_PROOF = {"word": "kumquat-71"}
SCHEMA_PROBE = ModelRequest(
    (PromptMessage("user", "Say hello to a friend, in one short sentence."),),
    max_tokens=64,
    schema={
        "type": "object",
        "properties": {"word": {"type": "string", "enum": [_PROOF["word"]]}},
        "required": ["word"],
        "additionalProperties": False,
    },
)


def shows_enforcement(text: str) -> bool:
    """Whether this answer to `SCHEMA_PROBE` looks like constrained decoding and nothing else.

    An empty one comes of a model that thought until its tokens ran out: the schema was taken.
    """
    if not text.strip():
        return True
    try:
        return bool(msgspec.json.decode(text.encode(errors="replace")) == _PROOF)
    except (msgspec.DecodeError, RecursionError):
        return False


def schema_fields(mode: SchemaMode, schema: JsonSchema) -> dict[str, Any]:
    """The fields of a chat request that carry the schema, or only ask for JSON."""
    match mode:
        case "strict" | "json_schema":
            sent = strict_schema(schema) if mode == "strict" else schema
            form = {"name": "step", "strict": True, "schema": sent}
            return {"response_format": {"type": "json_schema", "json_schema": form}}
        case "structured_outputs":
            return {"structured_outputs": {"json": schema}}
        case "nvext":
            return {"nvext": {"guided_json": schema}}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case _:
            return {}


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in the subset of OpenAI's strict mode: wider, never narrower.

    Bounds go, a constant becomes an enumeration of one, every object is closed and names all
    its fields; one that was optional may be null.
    """
    kept = {key: value for key, value in schema.items() if key not in STRICT_REFUSES}
    if "const" in kept:
        kept["enum"] = [kept.pop("const")]
    if "enum" in kept and "type" not in kept:
        names = {_JSON_TYPES[type(each)] for each in kept["enum"] if type(each) in _JSON_TYPES}
        if len(names) == 1:
            kept["type"] = names.pop()
    if "anyOf" in kept:
        kept["anyOf"] = [strict_schema(each) for each in kept["anyOf"]]
    if isinstance(kept.get("items"), Mapping):
        kept["items"] = strict_schema(kept["items"])
    if isinstance(kept.get("properties"), Mapping):
        needed = kept.get("required", ())
        kept["properties"] = {
            name: strict_schema(each) if name in needed else _nullable(strict_schema(each))
            for name, each in kept["properties"].items()
        }
        kept |= {"required": list(kept["properties"]), "additionalProperties": False}
    return kept


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}
