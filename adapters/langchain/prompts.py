"""LangChain's messages as our planner's prompt."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from agents.ports import ImageData, PromptMessage
from agents.prompts.planner import final_text, prompt_head, result_text, step_text
from tools.contract import Tool

_MEDIA_TYPES: Mapping[str, Literal["image/png", "image/jpeg"]] = {
    "image/png": "image/png",
    "image/jpeg": "image/jpeg",
}


class MessageError(ValueError):
    """A message holds what can't be put into a prompt; names it and the remedy."""


def planned_prompt(
    messages: Sequence[BaseMessage], tools: Sequence[Tool]
) -> tuple[PromptMessage, ...]:
    """The conversation as steps and results, behind the same head as our own planner's.

    System messages, wherever they stand, go into the head; calls are numbered in the order
    they were made, because a model need not copy an id.
    """
    persona = "\n\n".join(each.text for each in messages if isinstance(each, SystemMessage))
    numbers: dict[str | None, tuple[str, str]] = {}
    said: list[PromptMessage] = []
    for message in messages:
        match message:
            case SystemMessage():
                continue
            case AIMessage() if message.tool_calls:
                for call in message.tool_calls:
                    numbers[call["id"]] = (call["name"], str(len(numbers) + 1))
                calls = [(call["name"], call["args"]) for call in message.tool_calls]
                said.append(PromptMessage("assistant", step_text(calls)))
            case AIMessage():
                said.append(PromptMessage("assistant", final_text(message.text)))
            case ToolMessage():
                name, number = numbers.get(message.tool_call_id, (message.name or "a tool", "?"))
                said.append(PromptMessage("user", result_text(name, number, message.text)))
            case _:
                said.append(PromptMessage("user", message.text, _images(message)))
    return (*prompt_head(tools, persona=persona), *said)


def plain_prompt(messages: Sequence[BaseMessage]) -> tuple[PromptMessage, ...]:
    """The conversation as it is, for a model without tools."""
    said: list[PromptMessage] = []
    for message in messages:
        match message:
            case SystemMessage():
                said.append(PromptMessage("system", message.text))
            case AIMessage():
                calls = [(call["name"], call["args"]) for call in message.tool_calls]
                text = step_text(calls) if calls else message.text
                said.append(PromptMessage("assistant", text))
            case ToolMessage():
                name = message.name or "a tool"
                said.append(PromptMessage("user", f"Result of {name}: {message.text}"))
            case _:
                said.append(PromptMessage("user", message.text, _images(message)))
    return tuple(said)


def calls_done(messages: Sequence[BaseMessage]) -> frozenset[str]:
    """Marks of the calls that were answered without an error since a person last spoke."""
    answered, marks = set[str](), set[str]()
    for message in reversed(messages):
        if isinstance(message, ToolMessage) and message.status != "error":
            answered.add(message.tool_call_id)
        elif isinstance(message, AIMessage):
            marks |= {
                call_mark(call["name"], call["args"])
                for call in message.tool_calls
                if call["id"] in answered
            }
        elif isinstance(message, HumanMessage):
            break
    return frozenset(marks)


def call_mark(name: str, arguments: Mapping[str, Any]) -> str:
    """The same for the same call."""
    return json.dumps([name, arguments], sort_keys=True)


def _images(message: BaseMessage) -> tuple[ImageData, ...]:
    images = []
    for block in message.content_blocks:
        if block["type"] in ("text", "text-plain"):
            continue
        if block["type"] != "image":
            raise MessageError(f"a {block['type']!r} block can't be read; send text or an image")
        kind, data = block.get("mime_type", ""), block.get("base64")
        if data is None:
            raise MessageError("an image is never fetched; send its bytes as base64")
        if kind not in _MEDIA_TYPES:
            raise MessageError("an image must be image/png or image/jpeg; convert it first")
        images.append(ImageData(base64.b64decode(data), _MEDIA_TYPES[kind]))
    return tuple(images)
