"""A model that says what a test tells it to."""

from __future__ import annotations

from collections import deque
from typing import Any, Self

from adapters.models.scripted import Reply, Say, Step, demo_policy
from adapters.models.scripted_server import HttpReply
from agents.ports import ModelRequest


class ScriptedModel:
    """Plays what was queued, one reply for each request; then sums and clock questions only.

    `requests` keeps what it was asked. Any reply of `adapters.models.scripted` may be queued
    by `replies`, the failing ones (`Fail`, `Cut`, `Stall`, `Garble`) too.
    """

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []
        self._queue: deque[HttpReply | str] = deque()

    def says(self, text: str) -> Self:
        """The next request gets this answer."""
        self._queue.append(text)
        return self

    def calls(self, tool: str, **arguments: Any) -> Self:
        """The next request gets a call of this tool."""
        self._queue.append(_step(tool, arguments))
        return self

    def replies(self, *replies: HttpReply) -> Self:
        """The next requests get these, as they are."""
        self._queue.extend(replies)
        return self

    def __call__(self, request: ModelRequest) -> HttpReply:
        """The policy of a scripted backend or server."""
        self.requests.append(request)
        if not self._queue:
            return demo_policy(request)
        reply = self._queue.popleft()
        return _answer(reply, request) if isinstance(reply, str) else reply


def _step(action: str, arguments: dict[str, Any]) -> Step:
    return Step({"thought": "", "step": [{"action": action, "arguments": arguments}]})


def _answer(text: str, request: ModelRequest) -> Reply:
    """A planner's answer travels in its step; who asks without a schema gets the text."""
    return Say(text) if request.schema is None else _step("final", {"answer": text})
