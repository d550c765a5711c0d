"""The scripted model: its faults, and the demo that walks the bot."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image

from adapters.models.openai_api import OpenAICompatible
from adapters.models.scripted import (
    DEFAULT_CAPABILITIES,
    Cut,
    Fail,
    FailMidStream,
    Garble,
    Reply,
    Say,
    ScriptedBackend,
    Stall,
    demo_policy,
)
from adapters.models.scripted_server import ScriptedServer
from agents.errors import BackendError
from agents.ports import ImageData, ModelBackend, ModelRequest, PromptMessage, complete

DOWN = BackendError("scripted", "down", retryable=True)


def offers(*tools: tuple[str, str]) -> dict[str, Any]:
    steps = [
        {
            "type": "object",
            "properties": {
                "action": {"const": name},
                "arguments": {"type": "object", "properties": {argument: {"type": "string"}}},
            },
        }
        for name, argument in (*tools, ("final", "answer"))
    ]
    one = {"anyOf": steps}
    many = {"type": "array", "items": one, "minItems": 2}
    return {"type": "object", "properties": {"step": {"anyOf": [one, many]}}}


TOOLS = offers(("calculate", "expression"), ("current_time", "zone"))


async def planned(*said: str, backend: ModelBackend | None = None) -> Any:
    messages = tuple(PromptMessage("user", text) for text in said)
    backend = backend or ScriptedBackend("demo", demo_policy)
    text, _ = await complete(backend, ModelRequest(messages, 512, schema=TOOLS))
    step = json.loads(text)
    assert list(step) == ["thought", "step"]
    return step["step"]


async def test_a_sum_and_a_clock_question_become_two_calls_at_once() -> None:
    assert await planned("What is 17*23, and what time is it in Tokyo?") == [
        {"action": "calculate", "arguments": {"expression": "17*23"}},
        {"action": "current_time", "arguments": {"zone": "Asia/Tokyo"}},
    ]


async def test_a_sum_alone_is_one_call() -> None:
    step = await planned("Today is 2026-11-23. What is (2 + 3) * 4?")

    assert step == {"action": "calculate", "arguments": {"expression": "(2 + 3) * 4"}}


async def test_results_become_the_answer() -> None:
    results = "Result of calculate #1: 391\nResult of current_time #2: 21:00 in Tokyo"
    step = await planned("What is 17*23, and what time is it in Tokyo?", results)

    assert step["action"] == "final"
    assert "391" in step["arguments"]["answer"]
    assert "21:00 in Tokyo" in step["arguments"]["answer"]


async def test_the_demo_remembers_what_was_said_and_seen_before() -> None:
    step = await planned("My cat is Tom. [image 1: I see a red 64×64 picture.]", "And now?")

    assert "My cat is Tom" in step["arguments"]["answer"]
    assert "a red 64×64 picture" in step["arguments"]["answer"]


@pytest.mark.parametrize(
    ("pixel", "size", "words"),
    [
        ((250, 10, 10), (64, 64), "a red 64×64 picture"),
        ((20, 20, 240), (30, 10), "a blue 30×10 picture"),
        ((255, 150, 5), (8, 9), "an orange 8×9 picture"),
    ],
)
async def test_the_demo_sees_the_real_pixels_over_http(
    pixel: tuple[int, int, int], size: tuple[int, int], words: str
) -> None:
    file = io.BytesIO()
    Image.new("RGB", size, pixel).save(file, "PNG")
    message = PromptMessage("user", "What is it?", (ImageData(file.getvalue(), "image/png"),))

    async with ScriptedServer() as url:
        backend = OpenAICompatible(
            "eyes",
            base_url=url,
            model="scripted",
            api_key=None,
            capabilities=DEFAULT_CAPABILITIES,
        )
        text, _ = await complete(backend, ModelRequest((message,), 64))
        await backend.aclose()

    assert text == f"I see {words}."


@pytest.mark.parametrize(
    "fault", [Fail(DOWN), FailMidStream("some text", DOWN), Cut("some text"), Stall()]
)
async def test_a_scripted_fault_is_raised_and_the_next_reply_is_played(fault: Reply) -> None:
    backend = ScriptedBackend("faulty", [fault, Say("well again")])
    ask = ModelRequest((PromptMessage("user", "hi"),), 32, first_token_timeout_s=0.01)

    with pytest.raises(BackendError):
        await complete(backend, ask)

    assert (await complete(backend, ask))[0] == "well again"
    assert backend.requests == [ask, ask]


async def test_garble_is_no_json_though_a_schema_was_asked_for() -> None:
    backend = ScriptedBackend("garbled", [Garble()])
    text, _ = await complete(backend, ModelRequest((PromptMessage("user", "x"),), 64, schema=TOOLS))

    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


async def test_a_script_that_is_over_says_so() -> None:
    with pytest.raises(BackendError, match="script of 0 replies is over"):
        await complete(
            ScriptedBackend("short", []), ModelRequest((PromptMessage("user", "x"),), 64)
        )
