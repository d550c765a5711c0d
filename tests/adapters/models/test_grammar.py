"""Which schemas become a compact grammar, and which are left to the engine."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.models.grammar import SchemaNotCovered, grammar_of


def root_of(schema: dict[str, Any]) -> str:
    return grammar_of(schema).splitlines()[0]


def test_constants_and_enumerations_are_spelled_out() -> None:
    assert root_of({"const": "final"}) == r'root ::= "\"final\""'
    assert root_of({"type": "string", "enum": ["a", 'b"']}) == (r'root ::= ("\"a\"" | "\"b\\\"\"")')


def test_small_integer_ranges_are_spelled_out_and_large_ones_are_not() -> None:
    assert (
        root_of({"type": "integer", "minimum": -1, "maximum": 1}) == 'root ::= ("-1" | "0" | "1")'
    )
    assert root_of({"type": "integer", "minimum": 0, "maximum": 9999}) == "root ::= int"


def test_a_long_string_is_counted_in_shared_blocks_that_never_pass_its_bound() -> None:
    assert root_of({"type": "string", "maxLength": 400}).endswith(r'block{0,11} tail "\"")')
    assert 11 * 32 + 31 <= 400
    assert root_of({"type": "string", "maxLength": 63}).endswith(r'ch{0,63} "\"")')
    assert root_of({"type": "string"}) == "root ::= text"


def test_a_bound_that_the_tokens_reach_first_is_not_counted() -> None:
    assert root_of({"type": "string", "maxLength": 4000}) == "root ::= text"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/x"},
        {"type": "string", "pattern": "a+"},
        {"type": "string", "format": "date"},
        {"oneOf": [{"type": "null"}]},
        {"type": "object", "properties": {"a": {"allOf": []}}},
        {"type": "tuple"},
    ],
)
def test_a_schema_outside_the_subset_is_named_and_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaNotCovered, match=r"outside the subset|is unknown"):
        grammar_of(schema)
