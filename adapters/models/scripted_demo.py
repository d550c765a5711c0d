"""The demo script: a deterministic stand-in for a model, good enough to walk the whole bot."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adapters.models.scripted_replies import Reply, Say, Step
from agents.ports import ImageData, ModelRequest
from agents.prompts.planner import said_in

_RESULT = re.compile(r"^Result of (?P<tool>[\w.-]+) #[\w.]+:\s*(?P<text>.*)", re.DOTALL)
_NUMBER = r"-?\(*\d+(?:\.\d+)?\)*"
_ARITHMETIC = re.compile(rf"\(*{_NUMBER}(?:\s*(?:\*\*|[-+*/×÷^])\s*{_NUMBER})+")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")  # no sum, though it looks like one
_TIME = re.compile(r"\bwhat(?:'s| is)? (?:the )?time\b|\btime is it\b|\btime in\b|\bclock\b", re.I)
_PLACE = re.compile(r"\b(?:time|it)\b[^?.!\n]*?\bin ([A-Z][\w]+(?: [A-Z][\w]+)*)")
_SEEN = re.compile(r"\b(?:a|an) [a-z]+ \d+×\d+ picture\b")
_ZONES = {
    "Tokyo": "Asia/Tokyo", "London": "Europe/London", "Paris": "Europe/Paris",
    "Berlin": "Europe/Berlin", "New York": "America/New_York", "Sydney": "Australia/Sydney",
    "Los Angeles": "America/Los_Angeles", "Delhi": "Asia/Kolkata", "Vienna": "Europe/Vienna",
}  # fmt: skip
_COLOURS = {
    "black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "red": (255, 0, 0),
    "green": (0, 160, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "cyan": (0, 255, 255),
    "magenta": (255, 0, 255), "orange": (255, 140, 0), "purple": (128, 0, 128),
    "brown": (139, 69, 19),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Offered:
    """The tools a request's schema names, and each one's argument names."""

    tools: dict[str, tuple[str, ...]]

    def call(self, words: tuple[str, ...], value: str) -> dict[str, Any] | None:
        for tool, names in self.tools.items():
            if names and any(word in tool.lower() for word in words):
                return {"action": tool, "arguments": {names[0]: value}}
        return None


def demo_policy(request: ModelRequest) -> Reply:
    """Plan sums and clock questions as tool calls, then answer from what came back.

    Pictures are described from their pixels, so a test can see that real bytes arrived.
    """
    images = [image for message in request.messages for image in message.images]
    if images and request.schema is None:
        return Say(f"I see {' and '.join(describe(image) for image in images)}.")
    question, results = _question_and_results(request)
    if request.schema is None:
        return Say(_answer(request, question, results))
    calls = [] if results else _calls(question, _offered(request.schema))
    if calls:
        return Step({"thought": "I need tools.", "step": calls if len(calls) > 1 else calls[0]})
    final = {"action": "final", "arguments": {"answer": _answer(request, question, results)}}
    return Step({"thought": "I can answer.", "step": final})


def describe(image: ImageData) -> str:
    """Size and average colour: "a red 64×64 picture"."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(image.data)) as opened:
            width, height = opened.size
            pixel = opened.convert("RGB").resize((1, 1), Image.Resampling.BOX).tobytes()
    except (UnidentifiedImageError, OSError):
        return "a picture that can't be opened"
    colour = min(_COLOURS, key=lambda name: _distance(_COLOURS[name], pixel))
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {width}×{height} picture"


def _distance(one: tuple[int, ...], other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _question_and_results(request: ModelRequest) -> tuple[str, list[str]]:
    """The last thing a person said, and the tool results that follow it."""
    results: list[str] = []
    for message in reversed(request.messages):
        if message.role != "user":
            continue
        found = [_RESULT.match(part) for part in re.split(r"\n(?=Result of )", message.text)]
        if not found or found[0] is None:
            said = said_in(message.text)
            return message.text if said is None else said, results[::-1]
        results.extend(each["text"].strip() for each in reversed(found) if each)
    return "", results[::-1]


def _calls(question: str, offered: _Offered) -> list[dict[str, Any]]:
    calls: list[dict[str, Any] | None] = []
    if sums := _ARITHMETIC.search(_DATE.sub("", question)):
        expression = sums[0].replace("×", "*").replace("÷", "/").replace("^", "**").strip()
        calls.append(offered.call(("calc", "arith", "math"), expression))
    if _TIME.search(question):
        place = _PLACE.search(question)
        zone = _ZONES.get(place[1], "UTC") if place else "UTC"
        calls.append(offered.call(("time", "clock"), zone))
    return [call for call in calls if call]


def _answer(request: ModelRequest, question: str, results: list[str]) -> str:
    said = _said(request)
    seen = _SEEN.findall("\n".join(message.text for message in request.messages))
    seen += [describe(image) for message in request.messages for image in message.images]
    sentences = [f"Here is what I found: {'; '.join(results)}."] if results else []
    if seen:
        sentences.append(f"The image shows {seen[-1]}.")
    if not sentences:
        sentences.append(f"You said: “{question.strip()}”.")
    if len(said) > 1:
        sentences.append(f"Before that you said: “{said[-2].strip()}”.")
    return " ".join(sentences)


def _said(request: ModelRequest) -> list[str]:
    """What people said; the prompt's examples, which carry no date, are no part of it."""
    users = [m.text for m in request.messages if m.role == "user" and not _RESULT.match(m.text)]
    stamped = [text for text in map(said_in, users) if text is not None]
    return stamped or users


def _offered(schema: Any) -> _Offered:
    tools = {}
    for each in _objects(schema):
        properties = each.get("properties") or {}
        action, arguments = properties.get("action"), properties.get("arguments")
        if isinstance(action, dict) and isinstance(arguments, dict):
            names = tuple(arguments.get("properties") or ())
            for name in (action.get("const"), *(action.get("enum") or ())):
                if isinstance(name, str) and name != "final":
                    tools[name] = names
    return _Offered(tools)


def _objects(value: Any) -> Iterator[Any]:
    """Every JSON object inside the schema, outermost first."""
    if isinstance(value, Mapping):
        yield value
    inner = (
        value.values()
        if isinstance(value, Mapping)
        else value
        if isinstance(value, list | tuple)
        else ()
    )
    for each in inner:
        yield from _objects(each)
