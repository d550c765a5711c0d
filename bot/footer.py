"""What a reply's footer says of routes: once for every change, not under every message."""

from __future__ import annotations

from agents.events import PlanEnded

TOLD = "told"  # kept beside the conversation's pins: the change it was told last


def switch_note(ended: PlanEnded, told: str) -> tuple[str, str]:
    """The sentence, or nothing; and what the conversation has been told from now on."""
    if ended.state != "answered":
        return _failures(ended), told
    now = ">".join((*(route for route, _ in ended.instead_of), ended.route))
    now = now if ended.instead_of else ""
    if now == told:
        return "", told
    if now:
        return f"{_failures(ended)}, so `{ended.route}` answered", now
    was_first = told.partition(">")[0]
    return (f"`{was_first}` answers again" if ended.route == was_first else ""), ""


def _failures(ended: PlanEnded) -> str:
    return "; ".join(f"`{route}` could not serve ({why})" for route, why in ended.instead_of)
