"""The test kit as a bot's author uses it: the installed plugin's fixtures, nothing of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.models.scripted import Fail, Garble
from agents.errors import BackendError
from bot.testing.conversation import Conversation

TOOLS = '''
from typing import Literal

from tools.decorator import tool


@tool(effect="read", example=("Is the shop open on Sunday?", {"day": "sunday"}))
async def opening_hours(day: Literal["weekday", "saturday", "sunday"]) -> str:
    """Opening hours of the shop."""
    return {"weekday": "9-18", "saturday": "10-14", "sunday": "closed"}[day]
'''


@pytest.fixture
def firstline_settings(tmp_path: Path) -> Mapping[str, Any]:
    (tmp_path / "my_tools.py").write_text(TOOLS)
    return {"tools.file": str(tmp_path / "my_tools.py")}


@pytest.fixture(params=["slack_conversation", "discord_conversation", "mattermost_conversation"])
def talk(request: pytest.FixtureRequest) -> Conversation:
    found: Conversation = request.getfixturevalue(request.param)
    return found


async def test_a_conversation_takes_its_tool_and_its_answer_from_the_script(
    talk: Conversation,
) -> None:
    talk.model.calls("opening_hours", day="sunday").says("We are closed on Sunday.")
    assert await talk.ask("Are you open on Sunday?") == "We are closed on Sunday."
    assert "closed" in talk.model.requests[-1].messages[-1].text
    assert talk.ended is not None
    assert talk.ended.state == "answered"

    talk.model.says("As I said: closed.")
    assert await talk.ask("Really?") == "As I said: closed."
    assert "Are you open on Sunday?" in str(talk.model.requests[-1].messages)


async def test_a_model_that_fails_is_told_and_the_next_question_is_answered(
    talk: Conversation,
) -> None:
    refusal = BackendError("scripted", "the machine is on fire", retryable=False)
    talk.model.replies(*[Garble()] * 3, *[Fail(refusal)] * 5)
    await talk.ask("Are you there?")
    assert talk.ended is not None
    assert talk.ended.state == "failed"


async def test_the_recorder_holds_the_calls_and_every_text_that_was_visible(
    talk: Conversation, tmp_path: Path
) -> None:
    await talk.ask("What is 6*7?")
    talk.recorder.save(tmp_path / "record.jsonl")

    rows = [json.loads(line) for line in (tmp_path / "record.jsonl").read_text().splitlines()]
    assert "42" in talk.recorder.shown[-1].text
    assert len(rows) == len(talk.recorder.calls) + len(talk.recorder.shown)
    assert [row["at_s"] for row in rows] == sorted(row["at_s"] for row in rows)
