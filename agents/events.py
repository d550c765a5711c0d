"""What a running plan tells its caller, in order.

A plan is a generator of these. It does its next step only when the caller asks for the next
event, so a caller that stores each event before going on has a durable turn.
"""

from __future__ import annotations

import msgspec

from agents.ports import Role, Usage
from agents.turns import EndState, Turn
from tools.contract import ToolCall, ToolResult
from tools.rules import Decision


class StepPlanned(msgspec.Struct, frozen=True, tag="planned"):
    """The model asked for these calls; none has run yet (persist point P3)."""

    step: int
    thought: str
    calls: tuple[ToolCall, ...]
    route: str
    decisions: tuple[Decision, ...] = ()  # what the rules said of each call, in their order


class CallsReturned(msgspec.Struct, frozen=True, tag="returned"):
    """All calls of the step ended (persist point P5); results keep the order of the calls."""

    step: int
    results: tuple[ToolResult, ...]


class Wanted(msgspec.Struct, frozen=True):
    """A step that waits for a press: nothing of it has run."""

    planned: StepPlanned
    made: tuple[StepPlanned | CallsReturned, ...]  # the steps before it
    sources: tuple[str, ...]  # what was read before: untrusted text, to be shown escaped


class RouteSwitched(msgspec.Struct, frozen=True, tag="switched"):
    """A route could not serve, before anything was shown; the next one goes on."""

    role: Role
    from_route: str
    to_route: str
    reason: str


class Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    """The engine is busy: `position` others go first; below 0: the wait is over."""

    position: int


class AnswerDelta(msgspec.Struct, frozen=True, tag="delta"):
    """More of the answer, as plain text."""

    text: str


class PlanEnded(msgspec.Struct, frozen=True, tag="ended"):
    """Always the last event.

    `text` is the whole answer, or for other end states the one honest sentence. `turns` are
    the assistant and tool turns to keep in memory. `notes` go into the reply's footer, and so
    does `instead_of` where it is news.
    """

    state: EndState
    text: str
    turns: tuple[Turn, ...]
    reason: str = ""  # for the operator; never user text
    notes: tuple[str, ...] = ()
    cut: bool = False
    usage: Usage = Usage()
    route: str = ""
    instead_of: tuple[tuple[str, str], ...] = ()  # routes that could not serve, and why
    fill: float = 0.0  # the history's share of the prompt's room, before anything was cut
    wanted: Wanted | None = None  # of the end state "asked": then `text` is empty


PlanEvent = StepPlanned | CallsReturned | RouteSwitched | Waiting | AnswerDelta | PlanEnded
