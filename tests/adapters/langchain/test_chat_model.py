from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal

import pytest

pytest.importorskip("langchain", reason="needs the extra langchain")

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool
from pydantic import BaseModel

from adapters.langchain import FirstlineChatModel
from adapters.langchain.prompts import MessageError
from adapters.models.scripted import Garble, Reply, Say, ScriptedBackend, Step
from agents.errors import BackendError
from agents.ports import Capabilities
from tests.engine import embedded_backend, needs_engine
from tools.builtin.arithmetic import calculate
from tools.schema import SchemaError


@tool
def weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """Tell the weather in a city."""
    return f"18 {unit} in {city}"


@tool
def book(seat: int) -> str:
    """Book a seat."""
    return f"seat {seat}"


def calls(*named: tuple[str, dict[str, Any]]) -> Step:
    return Step({"thought": "", "step": [{"action": n, "arguments": a} for n, a in named]})


def final(answer: str) -> Step:
    return calls(("final", {"answer": answer}))


def model_of(*replies: Reply, **options: Any) -> tuple[FirstlineChatModel, ScriptedBackend]:
    backend = ScriptedBackend("scripted", replies, **options)
    return FirstlineChatModel(backend=backend), backend


def bound(model: FirstlineChatModel, **options: Any) -> Any:
    return model.bind_tools([weather, book], **options)


async def test_a_planned_step_becomes_tool_calls() -> None:
    named = ("weather", {"city": "Rome", "unit": None}), ("book", {"seat": 3})
    model, backend = model_of(calls(*named))

    message = await bound(model).ainvoke("The weather in Rome, and book seat 3.")

    assert message.content == ""
    assert [(each["name"], each["args"]) for each in message.tool_calls] == [
        ("weather", {"city": "Rome"}),  # what the model left open is the tool's default
        ("book", {"seat": 3}),
    ]
    assert len({each["id"] for each in message.tool_calls}) == 2
    assert message.usage_metadata["output_tokens"] > 0
    assert message.response_metadata["finish_reason"] == "tool_calls"
    assert backend.requests[0].schema is not None


async def test_the_answer_streams_as_it_is_generated_and_shows_no_json() -> None:
    model, _ = model_of(final("It is 18 °C in Rome, and “sunny”."))

    chunks = [chunk async for chunk in bound(model).astream("Weather?")]

    texts = [chunk.text for chunk in chunks if chunk.text]
    assert len(texts) > 2
    assert "".join(texts) == "It is 18 °C in Rome, and “sunny”."
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert isinstance(whole, AIMessageChunk)
    assert whole.response_metadata == {"finish_reason": "stop", "model_name": "scripted"}
    assert whole.usage_metadata is not None


async def test_an_invalid_step_is_told_and_tried_once_more() -> None:
    model, backend = model_of(calls(("book", {"seat": "three"})), calls(("book", {"seat": 3})))

    message = await bound(model).ainvoke("Book seat three.")

    assert message.tool_calls[0]["args"] == {"seat": 3}
    assert "book: seat" in backend.requests[1].messages[-1].text


async def test_two_invalid_steps_are_a_retryable_error_and_no_answer() -> None:
    model, _ = model_of(Garble(), Garble())

    with pytest.raises(BackendError, match="no valid step") as caught:
        await bound(model).ainvoke("hello")

    assert caught.value.retryable


async def test_prose_in_place_of_a_step_is_taken_as_the_answer() -> None:
    model, _ = model_of(Say("Good day."), Say("Good day."))

    assert (await bound(model).ainvoke("hello")).content == "Good day."


@pytest.mark.parametrize(
    "choice", ["any", "required", True, "book", {"function": {"name": "book"}}]
)
async def test_a_required_call_can_be_nothing_else(choice: Any) -> None:
    model, backend = model_of(final("No."), calls(("book", {"seat": 1})))

    message = await bound(model, tool_choice=choice).ainvoke("hello")

    assert [each["name"] for each in message.tool_calls] == ["book"]
    assert '"final"' not in str(backend.requests[0].schema).replace("'", '"')


async def test_a_tool_choice_that_is_not_bound_is_named() -> None:
    model, _ = model_of()

    with pytest.raises(ValueError, match="names 'pay'; the bound tools are: weather, book"):
        await bound(model, tool_choice="pay").ainvoke("hello")


async def test_one_call_at_a_time_is_kept_when_asked_for() -> None:
    model, _ = model_of(calls(("book", {"seat": 1}), ("book", {"seat": 2})))

    message = await bound(model, parallel_tool_calls=False).ainvoke("hello")

    assert [each["args"] for each in message.tool_calls] == [{"seat": 1}]


async def test_structured_output_is_a_step_that_must_be_called() -> None:
    class Ticket(BaseModel):
        """A support ticket."""

        title: str
        urgent: bool

    model, _ = model_of(calls(("Ticket", {"title": "No mail", "urgent": True})))

    ticket = await model.with_structured_output(Ticket).ainvoke("Mail is down!")

    assert ticket == Ticket(title="No mail", urgent=True)


async def test_a_conversation_becomes_steps_and_numbered_results() -> None:
    call = {"name": "weather", "args": {"city": "Rome"}, "id": "call_9f", "type": "tool_call"}
    history: Sequence[BaseMessage] = [
        SystemMessage("Speak like a pirate."),
        HumanMessage("Weather in Rome?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("18 C", tool_call_id="call_9f"),
        AIMessage("18 °C."),
        HumanMessage("Thanks!"),
    ]
    model, backend = model_of(final("Aye."))

    await bound(model).ainvoke(history)

    head, *rest = backend.requests[0].messages
    assert "Speak like a pirate." in head.text
    assert "- weather(city: string, unit: C|F|null): Tell the weather in a city." in head.text
    assert [(each.role, each.text) for each in rest[-5:]] == [
        ("user", "Weather in Rome?"),
        (
            "assistant",
            '{"thought":"","step":[{"action":"weather","arguments":{"city":"Rome"}}]}',
        ),
        ("user", "Result of weather #1: 18 C"),
        ("assistant", '{"thought":"","step":[{"action":"final","arguments":{"answer":"18 °C."}}]}'),
        ("user", "Thanks!"),
    ]


async def test_a_model_that_only_repeats_itself_is_held_to_an_answer() -> None:
    call = {"name": "weather", "args": {"city": "Rome"}, "id": "1", "type": "tool_call"}
    asked = [HumanMessage("Rome?"), AIMessage("", tool_calls=[call])]
    again = calls(("weather", {"city": "Rome", "unit": None}))

    model, backend = model_of(again, final("18 °C."))
    message = await bound(model).ainvoke([*asked, ToolMessage("18 C", tool_call_id="1")])

    assert (message.content, message.tool_calls) == ("18 °C.", [])
    assert "weather" not in str(backend.requests[1].schema)

    model, _ = model_of(again)
    failed = ToolMessage("Error: busy", tool_call_id="1", status="error")
    assert (await bound(model).ainvoke([*asked, failed])).tool_calls


async def test_without_tools_the_model_just_talks_and_stops_where_it_is_told() -> None:
    model, backend = model_of(Say("one two three four"))

    message = await model.ainvoke([SystemMessage("Count."), HumanMessage("Go")], stop=["three"])

    assert message.content == "one two "
    assert backend.requests[0].schema is None
    assert [each.role for each in backend.requests[0].messages] == ["system", "user"]


async def test_images_go_in_as_pixels_and_addresses_are_never_fetched() -> None:
    model, backend = model_of(Say("A cat."))
    pixels = base64.b64encode(b"pixels").decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixels}"}}

    await model.ainvoke([HumanMessage([{"type": "text", "text": "What is it?"}, image])])

    [asked] = backend.requests[0].messages
    assert asked.text == "What is it?"
    assert [each.data for each in asked.images] == [b"pixels"]
    for block in (
        {"type": "image", "url": "https://example.com/cat.png"},
        {"type": "image", "base64": pixels, "mime_type": "image/webp"},
        {"type": "audio", "base64": pixels, "mime_type": "audio/wav"},
    ):
        with pytest.raises(MessageError):
            await model.ainvoke([HumanMessage([block])])


async def test_an_image_for_a_text_only_model_is_a_clear_refusal() -> None:
    model, _ = model_of(Say("?"), capabilities=Capabilities(context_tokens=1024))
    image = {"type": "image", "base64": "AAAA", "mime_type": "image/png"}

    with pytest.raises(BackendError, match="takes no images"):
        await model.ainvoke([HumanMessage([image])])


async def test_the_blocking_calls_say_what_to_use() -> None:
    model, _ = model_of()

    with pytest.raises(NotImplementedError, match="use ainvoke"):
        model.invoke("hello")
    with pytest.raises(NotImplementedError, match="use ainvoke"):
        next(model.stream("hello"))


async def test_a_schema_that_engines_disagree_on_is_refused_when_it_is_bound() -> None:
    @tool
    def remember(facts: dict[str, str]) -> str:
        """Remember facts."""
        return ""

    with pytest.raises(SchemaError, match=r"remember\.facts"):
        model_of()[0].bind_tools([remember])


async def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TypeError, match="does not know top_k"):
        await model_of()[0].ainvoke("hello", top_k=3)


class TestWithARealModel:
    pytestmark = needs_engine

    async def test_the_embedded_model_plans_a_call_that_fits_its_schema(self) -> None:
        from adapters.langchain import tool_to_langchain

        model = FirstlineChatModel(backend=embedded_backend())
        sums = tool_to_langchain(calculate)

        message = await model.bind_tools([sums], tool_choice="any").ainvoke("What is 17*23?")

        [call, *_] = message.tool_calls
        assert call["name"] == "calculate"
        assert "17*23" in call["args"]["expression"].replace(" ", "")
