"""Steps: what is read as one, and that nothing else ever comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.answer_stream import AnswerReader
from agents.prompts.planner import final_text, step_text
from agents.steps import PlannedCall, Step, StepError, parse_step
from tools.decorator import tool
from tools.toolbox import Toolbox, built_in_tools


@tool(effect="read")
async def ping() -> str:
    """Say pong."""
    return "pong"


TOOLBOX = Toolbox([*built_in_tools(), ping])
TOOLS = tuple(each for name in ("calculate", "ping") if (each := TOOLBOX.get(name)))
CALL = {"action": "calculate", "arguments": {"expression": "1+1"}}
CALCULATE = PlannedCall("calculate", {"expression": "1+1"})


def parse(text: str) -> Step:
    return parse_step(text, TOOLS, TOOLBOX)


def said(step: Any) -> str:
    return json.dumps({"thought": "", "step": step})


@pytest.mark.parametrize(
    "text",
    [
        said(CALL),
        said([CALL]),
        f"Sure!\n```json\n{said(CALL)}\n```\nDone.",
        f"<tool_call>{said(CALL)}</tool_call>",
        f"I think {said([CALL])} is right",
    ],
)
def test_a_call_is_read_in_every_wrapping(text: str) -> None:
    assert parse(text).calls == (CALCULATE,)


def test_calls_and_answers_are_read_in_all_shapes() -> None:
    final = {"action": "final", "arguments": {"answer": "Hi [[[[{{{"}}

    assert parse(said([CALL, CALL])).calls == (CALCULATE, CALCULATE)
    assert parse(said(final)).answer == parse(said([final])).answer == "Hi [[[[{{{"
    assert parse(step_text([("ping", {})])).calls == (PlannedCall("ping", {}),)
    assert parse('{"thought":"a\nb","step":{"action":"ping"}}').thought == "a\nb"


@pytest.mark.parametrize(
    "text",
    [
        '{"thought":"","thought":"","step":{"action":"ping"}}',
        '{"thought":NaN,"step":{"action":"ping"}}',
        '{"thought":1,"step":{"action":"ping"}}',
        "[" * 10_000,
        '{"a":' * 10_000,
        said([]),
        said([CALL] * 5),
        said({"action": "delete", "arguments": {}}),
        said({"action": ["calculate"], "arguments": {}}),
        said({"action": "calculate", "arguments": {"expression": 5}}),
        said({"action": "calculate", "arguments": {"expression": "1", "more": 1}}),
        said({"action": "calculate", "arguments": {"expression": "x" * 201}}),
        said([CALL, {"action": "final", "arguments": {"answer": "x"}}]),
        said({"action": "final", "arguments": {"answer": 5}}),
        '"' * 200_000,
        '\\"' * 100_000,
        "```{" * 60_000,
    ],
)
def test_everything_else_is_a_step_error(text: str) -> None:
    with pytest.raises(StepError):
        parse(text)


def test_lone_surrogates_never_come_out_of_a_step() -> None:
    text = '{"thought":"\\ud800","step":{"action":"final","arguments":{"answer":"a\\udfffb"}}}'

    assert parse(text) == Step("\ufffd", answer="a\ufffdb")


@given(st.data())
@settings(max_examples=200)
def test_a_mutated_step_is_a_step_or_a_step_error(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([said(CALL), said([CALL, CALL]), final_text("Hi")]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text = (
            text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
        )
    _step_or_error(text)


@given(st.text())
@settings(max_examples=200)
def test_any_text_is_a_step_or_a_step_error(text: str) -> None:
    _step_or_error(text)


def _step_or_error(text: str) -> None:
    try:
        step = parse(text)
    except StepError:
        return
    assert {call.name for call in step.calls} <= {"calculate", "ping"}
    assert all(TOOLBOX.check(call.name, call.arguments) is None for call in step.calls)


@given(
    st.text(st.characters(exclude_categories=())),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
)
@settings(max_examples=200)
def test_an_answer_in_any_chunks_is_read_as_json_reads_it(
    answer: str, ascii_only: bool, compact: bool, sizes: list[int]
) -> None:
    step = {"action": "final", "arguments": {"answer": answer}}
    separators = (",", ":") if compact else None
    value = {"thought": 'a "b" \\', "step": [step] if compact else step}
    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators)
    reader, got, at, turn = AnswerReader(), "", 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        got += reader.feed(text[at : at + size])
        at, turn = at + size, turn + 1

    assert reader.ended
    assert _plain(got) == _plain(
        json.loads(text)["step"][0]["arguments"]["answer"]
        if compact
        else json.loads(text)["step"]["arguments"]["answer"]
    )


def _plain(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in text)


@pytest.mark.parametrize(
    "text",
    [
        step_text([("calculate", {"expression": '"answer":"no"'})]),
        '{"step":{"action":"final","arguments":{"answer":"no"}},"thought":""}',
        '{"thought":"","step":{"arguments":{"answer":"no"},"action":"final"}}',
        '{"thought":"\\"step\\":{\\"action\\":\\"final\\"","step":{"action":"ping"}}',
    ],
)
def test_nothing_is_shown_of_calls_or_of_keys_in_another_order(text: str) -> None:
    reader = AnswerReader()

    assert "".join(reader.feed(character) for character in text) == ""
