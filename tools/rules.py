"""The rules at the call: pure code that decides whether a tool may run, whatever a model wants.

They are asked when a call is planned and once more when it is made. The numbers are those of the
audit log and of docs/security.md.

1 grant     the tool is granted to this person in this place, now
2 schema    the arguments fit the tool's schema
3 readers   what leaves may be passed on by who asked: they belong to all who may read it
4 press     what can't be undone needs a press, always
5 press     once the turn has read what others wrote, everything but a pure read needs a press
6 budget    something is left to spend

What is not known is denied. A press satisfies 4 and 5, and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from tools.contract import Tool, ToolCall
from tools.identity import Place, Principal
from tools.labels import Integrity, Label, audience_of

Verdict = Literal["allow", "press", "deny"]

_STAYS_HERE = "read"
_LEAVES = frozenset({"write", "destructive", "egress"})


class Decision(msgspec.Struct, frozen=True):
    """What a call may do; `reason` is for the model and the audit log, never user text."""

    verdict: Verdict
    rule: int = 0  # the rule that decided; 0 when all let it pass
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One call, with everything the rules look at; only `misfit` comes from its arguments."""

    tool: Tool | None
    principal: Principal
    place: Place
    label: Label  # of all that the turn has read so far
    misfit: str | None = None  # what the schema says of the arguments
    granted: bool = True  # by the operator's settings, beside what the tool itself declares
    pressed: bool = False
    budget_left: bool = True


def decide(asked: Asked) -> Decision:
    """The first rule that denies, else the first that wants a press."""
    tool = asked.tool
    if tool is None or not asked.granted or not _is_for(tool, asked.principal, asked.place):
        return Decision("deny", 1, "not granted here")
    if asked.misfit is not None:
        return Decision("deny", 2, asked.misfit)
    if tool.effect == _STAYS_HERE:
        return _unless_spent(asked, Decision("allow"))
    if tool.effect not in _LEAVES:
        return Decision("deny", 4, "unknown effect")
    if not may_pass_on(asked.label, asked.principal, asked.place):
        return Decision("deny", 3, "it would tell others what is not theirs to read")
    if asked.pressed:
        return _unless_spent(asked, Decision("allow"))
    if tool.effect == "destructive":
        return _unless_spent(asked, Decision("press", 4, "it can't be undone"))
    if asked.label.integrity >= Integrity.UNTRUSTED:
        return _unless_spent(asked, Decision("press", 5, "others wrote what was read before"))
    return _unless_spent(asked, Decision("allow"))


def may_pass_on(label: Label, principal: Principal, place: Place) -> bool:
    """Whether who asked belongs to everyone who may read this, so that it is theirs to tell.

    That they do tell it is their press, or their own words.
    """
    return label.readers <= _scopes_of(principal, place)


def hash_of(calls: Iterable[ToolCall]) -> str:
    """What a press is bound to: SHA-256 of the calls' ids, names and arguments, in their order."""
    told = [(call.call_id, call.name, call.arguments) for call in calls]
    return hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()


def _is_for(tool: Tool, principal: Principal, place: Place) -> bool:
    return principal.kind in tool.principals and place.kind in tool.places


def _scopes_of(principal: Principal, place: Place) -> frozenset[str]:
    """The scopes that certainly hold who asked: those they can read this place from."""
    scopes = {audience_of(place, principal)}
    if principal.kind in ("operator", "member") and place.kind != "external":
        own = f"user:{principal.tenant}/{principal.user_id}"
        scopes |= {own, f"tenant:{principal.tenant}"}
    return frozenset(scopes)


def _unless_spent(asked: Asked, decision: Decision) -> Decision:
    return decision if asked.budget_left else Decision("deny", 6, "the day's budget is used up")
