"""The schema compiler: what comes out is the agreed subset, and fits what went in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from adapters.models.grammar import grammar_of
from tools.schema import SchemaError, checker, compile_schema

AGREED = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength"},
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "boolean": set(),
    "null": set(),
}
NAMES = st.sampled_from(["a", "b", "name", "type", "$ref", "größe"])


def bounded(least: str, most: str, top: int) -> st.SearchStrategy[dict[str, int]]:
    pairs = st.tuples(st.integers(0, top), st.integers(0, top)).map(sorted)
    both = pairs.map(lambda pair: {least: pair[0], most: pair[1]})
    return st.one_of(st.just({}), both, both.map(lambda two: {most: two[most]}))


def numbers(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    lows, highs = st.sampled_from(["minimum", "exclusiveMinimum"]), st.floats(10, 99)
    low = st.builds(lambda key, value: {key: value}, lows, st.floats(-9, 5).map(lambda n: n / 2))
    high = st.builds(
        lambda key, value: {key: value}, st.sampled_from(["maximum", "exclusiveMaximum"]), highs
    )
    bounds = st.one_of(st.just({}), low, high, st.builds(lambda a, b: a | b, low, high))
    return bounds.map(lambda given: {"type": kind, **given})


LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    bounded("minLength", "maxLength", 32).map(lambda given: {"type": "string", **given}),
    numbers("integer"),
    numbers("number"),
    st.just({"type": "boolean"}),
    st.lists(st.text(max_size=4), min_size=1, max_size=3, unique=True).map(
        lambda values: {"type": "string", "enum": values}
    ),
    st.integers(0, 9).map(lambda value: {"const": value, "type": "integer"}),
    st.just({"type": ["string", "null"], "maxLength": 5}),
    st.just({"$ref": "#/$defs/Colour"}),
    st.just({"$ref": "#/$defs/Point", "description": "Where"}),
)
DEFINITIONS = {
    "Colour": {"enum": ["red", "blue"], "title": "Colour", "type": "string"},
    "Point": {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "c": {"$ref": "#/$defs/Colour"}},
        "required": ["x"],
    },
}


def objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    fields = st.dictionaries(NAMES, inner, min_size=1, max_size=3)
    return fields.map(lambda given: {"type": "object", "properties": given, "title": "T"})


def grown(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    arrays = st.builds(
        lambda items, bounds: {"type": "array", "items": items, **bounds},
        inner,
        bounded("minItems", "maxItems", 3),
    )
    either = st.lists(inner, min_size=1, max_size=2).map(
        lambda branches: {"anyOf": [*branches, {"type": "null"}], "default": None}
    )
    return st.one_of(objects(inner), arrays, either)


SCHEMAS = objects(st.recursive(LEAVES, grown, max_leaves=5)).map(
    lambda schema: {**schema, "$defs": DEFINITIONS}
)


def assert_agreed(schema: Mapping[str, Any]) -> None:
    """Only keywords of the subset, every text and list bounded, every object closed."""
    rest = set(schema) - {"description"}
    if rest in ({"anyOf"}, {"enum"}, {"const"}, {"enum", "type"}, {"const", "type"}):
        for branch in schema.get("anyOf", ()):
            assert_agreed(branch)
        return
    assert rest <= AGREED[schema["type"]] | {"type"}
    match schema["type"]:
        case "string":
            assert schema["maxLength"] >= schema.get("minLength", 0)
        case "array":
            assert schema["maxItems"] >= schema.get("minItems", 0)
            assert_agreed(schema["items"])
        case "object":
            assert schema["required"] == list(schema["properties"])
            assert schema["additionalProperties"] is False
            for field in schema["properties"].values():
                assert_agreed(field)


def values(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values near a compiled schema; most fit it."""
    if "anyOf" in schema:
        return st.one_of([values(branch) for branch in schema["anyOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "string":
            return st.text(min_size=schema.get("minLength", 0), max_size=schema["maxLength"])
        case "array":
            least, most = schema.get("minItems", 0), min(schema["maxItems"], 4)
            return st.lists(values(schema["items"]), min_size=least, max_size=most)
        case "object":
            return st.fixed_dictionaries(
                {name: values(field) for name, field in schema["properties"].items()}
            )
        case "integer":
            return st.integers(int(schema.get("minimum", -5)), int(schema.get("maximum", 200)))
        case "number":
            return st.floats(schema.get("minimum", -5), schema.get("maximum", 200), width=64)
        case "boolean":
            return st.booleans()
        case _:
            return st.none()


def without_number_bounds(schema: Any) -> Any:
    """The schema with bounds of numbers that exclude their own value made to include it."""
    if isinstance(schema, list):
        return [without_number_bounds(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    opened = {key: without_number_bounds(value) for key, value in schema.items()}
    if schema.get("type") == "number":
        for exclusive, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if exclusive in opened:
                opened[plain] = opened.pop(exclusive)
    return opened


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_what_comes_out_is_the_subset_and_what_fits_it_fits_what_went_in(
    data: st.DataObject,
) -> None:
    schema = data.draw(SCHEMAS)
    compiled = compile_schema(schema)

    assert_agreed(compiled)
    value = data.draw(values(compiled))
    if Draft202012Validator(compiled).is_valid(value):
        Draft202012Validator(without_number_bounds(schema)).validate(value)


@given(SCHEMAS)
@settings(max_examples=60, deadline=None)
def test_what_was_compiled_compiles_to_itself_and_to_a_grammar(schema: dict[str, Any]) -> None:
    compiled = compile_schema(schema)

    assert compile_schema(compiled) == compiled
    assert grammar_of(compiled).startswith("root ::=")


class Leaf(BaseModel):
    text: str


class Branch(BaseModel):
    left: Leaf
    right: Leaf


class Node(BaseModel):
    children: list[Node]


def test_a_definition_used_twice_is_inlined_twice() -> None:
    fields = compile_schema(Branch.model_json_schema())["properties"]

    assert fields["left"] == fields["right"]
    assert fields["left"]["properties"] == {"text": {"type": "string", "maxLength": 400}}


def one(field: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": field}}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (Node.model_json_schema(), r"t\.children\[\]: Node refers to itself; use"),
        (one({"$ref": "#/$defs/None"}), r"t\.x: '\$ref' '#/\$defs/None' is unknown; define it"),
        (one({"type": "string", "pattern": "a+"}), r"t\.x: 'pattern' is not supported.*; use"),
        (one({"type": "string", "format": "date"}), r"t\.x: 'format' is not supported"),
        (one({"oneOf": [{"type": "null"}]}), r"t\.x: 'oneOf' is not supported"),
        (one({"allOf": [{"type": "null"}]}), r"t\.x: 'allOf' is not supported"),
        (one({"type": "array", "prefixItems": []}), r"t\.x: 'prefixItems' is not supported"),
        (one({"type": "array", "items": True}), r"t\.x\[\]: give it a type"),
        (one({"type": "array", "contains": {}}), r"t\.x: 'contains' is not supported"),
        (one({"type": "tuple"}), r"t\.x: 'type' 'tuple' is none of object, array"),
        (one({"type": []}), r"t\.x: 'anyOf' is empty"),
        (one({"anyOf": []}), r"t\.x: 'anyOf' is empty"),
        (one({"anyOf": [{"type": "null"}], "type": "string"}), r"t\.x: move 'type' into each"),
        (one({"enum": []}), r"t\.x: no value is left in 'enum'"),
        (one({"enum": [["a"]]}), r"t\.x: 'enum' and 'const' hold texts and numbers only"),
        (one({"type": "string", "minLength": 5, "maxLength": 2}), "nothing fits; widen"),
        (one({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2}), "nothing fits"),
        (one({"type": "object"}), r"t\.x: an object without named fields"),
        (one({}), r"t\.x: give it a type that says what it holds"),
        ({**one({"type": "null"}), "required": ["y"]}, "'required' names 'y'; give it in"),
        ({"type": "string"}, "t: arguments are one object"),
    ],
)
def test_what_engines_disagree_on_is_refused_by_name_with_a_remedy(
    schema: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SchemaError, match=reason):
        compile_schema(schema, where="t")


def test_a_schema_nested_without_end_is_refused_quickly() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(100):
        schema = one(schema)

    with pytest.raises(SchemaError, match="nested deeper than 12; make it flatter"):
        compile_schema(schema)


def test_a_bound_is_exact_where_a_value_is_a_whole_number() -> None:
    field = {"type": "integer", "exclusiveMinimum": 0.5, "maximum": 9.5}

    compiled = compile_schema(one(field))["properties"]["x"]

    assert compiled == {"type": "integer", "minimum": 1, "maximum": 9}


def test_a_list_of_types_keeps_its_bounds() -> None:
    compiled = compile_schema(one({"type": ["string", "null"], "description": "Why"}))

    text = {"type": "string", "maxLength": 400}
    assert compiled["properties"]["x"] == {"description": "Why", "anyOf": [text, {"type": "null"}]}


def test_a_step_is_validated_again_whatever_held_the_model_to_it() -> None:
    check = checker(compile_schema(one({"type": "integer", "minimum": 1})))

    assert check({"x": 1}) is None
    assert check({"x": 0}) == "x: must satisfy minimum 1"
    assert check({}) == "arguments: x missing"
