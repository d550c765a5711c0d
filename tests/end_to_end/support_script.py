"""The scripted support agent of the page's test and of the pictures in the documentation."""

from __future__ import annotations

import re

from adapters.models.scripted import Reply, Say, Step
from agents.ports import ModelRequest

QUESTION = (
    "This came up during the rollout to 17 servers. What is wrong, and how much disk do they "
    "need at 23 GB each?"
)
ANSWER = """\
The service on **web-07** may not start: Windows reports `0x80070005`, *access is denied*.

1. Give the service account the right **Log on as a service**.
2. Start the service again, and send me a new screenshot if the window comes back.

The 17 servers need **391 GB** of disk together."""


def support(request: ModelRequest) -> Reply:
    """A support agent's script: it computes, reads the picture, and remembers its tools."""
    told = "\n".join(message.text for message in request.messages)
    last = request.messages[-1].text
    if "error code" in last:
        return _answer(request, "The code was `0x80070005`, on web-07.")
    if not re.search(r"^Result of calculate #", last, re.MULTILINE):
        call = {"action": "calculate", "arguments": {"expression": "17*23"}}
        return Step({"thought": "The disk space needs a sum.", "step": call})
    return _answer(request, ANSWER if "0x80070005" in told else "I can't read the picture.")


def _answer(request: ModelRequest, text: str) -> Reply:
    if request.schema is None:
        return Say(text, chunk=5, delay_s=0.02)
    step = {"action": "final", "arguments": {"answer": text}}
    return Step({"thought": "I can answer.", "step": step}, chunk=5, delay_s=0.02)
