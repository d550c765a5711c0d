"""A demonstration model chooses tools; what they gave is stated for it."""

from __future__ import annotations

import dataclasses

from adapters.models.scripted import DEFAULT_CAPABILITIES, ScriptedBackend
from agents.turns import Image, Text, Turn
from tests.agents.planning import calculate, ended, final, planner, task

DEMONSTRATION = dataclasses.replace(DEFAULT_CAPABILITIES, demonstration=True)


async def test_the_tools_results_are_the_answer_and_the_footer_says_so() -> None:
    model = ScriptedBackend("tiny", [calculate("12*12")], capabilities=DEMONSTRATION)

    answer = await ended(planner(model), task("What is 12*12?"))

    assert (answer.state, answer.text) == ("answered", "- calculate: 144")
    assert any("as the tools gave them" in note for note in answer.notes)
    assert "from the demonstration model" in answer.notes


async def test_what_was_read_in_a_picture_is_handed_over_whatever_the_model_says() -> None:
    model = ScriptedBackend("tiny", [final("I am firstline.")], capabilities=DEMONSTRATION)
    picture = Image("00", "image/png", "error.png", "Text read from the image: 0x80070005", "ocr")
    question = Turn("user", (Text("What does this say?"), picture), said_at=1.0, turn_id="t")

    answer = await ended(planner(model), dataclasses.replace(task(), question=question))

    assert answer.text == "I am firstline.\n\nText read from the image: 0x80070005"
