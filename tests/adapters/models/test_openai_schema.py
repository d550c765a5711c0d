"""OpenAI's strict subset: what a schema becomes, and what counts as a schema that is heeded."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.models.openai_schema import shows_enforcement, strict_schema
from agents.steps import step_schema
from tests.twins.foundry import faults_of
from tools.builtin.arithmetic import calculate
from tools.builtin.clock import current_time
from tools.builtin.conversation_search import search_conversation
from tools.builtin.look import look


def test_a_step_with_the_tools_we_ship_fits_strict_mode() -> None:
    whole = step_schema([calculate, current_time, search_conversation, look], max_answer_chars=4000)

    assert list(faults_of(strict_schema(whole))) == []


def test_an_optional_field_becomes_one_that_may_be_null() -> None:
    fields = {"must": {"type": "string"}, "may": {"type": "integer", "minimum": 1}}

    strict = strict_schema({"type": "object", "properties": fields, "required": ["must"]})

    assert strict["required"] == ["must", "may"]
    assert strict["properties"]["may"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("answer", "heeded"),
    [
        ('{"word": "kumquat-71"}', True),
        (' {"word":"kumquat-71"}\n', True),
        ("", True),  # thought until its tokens ran out; the schema was taken
        ("Hello, my friend!", False),
        ('{"greeting": "hello"}', False),
        ("[" * 5000, False),
    ],
)
def test_what_shows_that_a_schema_was_heeded(answer: str, heeded: bool) -> None:
    assert shows_enforcement(answer) is heeded


VALUES = st.recursive(
    st.sampled_from(
        [
            {"type": "string", "maxLength": 3, "minLength": 1},
            {"type": "integer", "minimum": 1, "maximum": 9},
            {"const": "go"},
            {"enum": ["a", "b"]},
            {"type": "boolean"},
        ]
    ),
    lambda inner: (
        st.dictionaries(st.sampled_from("pqr"), inner, min_size=1).map(
            lambda fields: {"type": "object", "properties": fields, "required": sorted(fields)[:1]}
        )
        | inner.map(lambda items: {"type": "array", "items": items, "maxItems": 2})
        | st.lists(inner, min_size=1, max_size=2).map(lambda each: {"anyOf": each})
    ),
    max_leaves=6,
)


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_a_strict_schema_is_one_that_strict_mode_takes(schema: dict[str, object]) -> None:
    strict = strict_schema(schema)

    jsonschema.Draft202012Validator.check_schema(strict)
    assert list(faults_of(strict)) == []
