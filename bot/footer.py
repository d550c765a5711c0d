"""What a reply's footer says of routes: once for every change, not under every message."""

from __future__ import annotations

from adapters.chat.sentences import say
from agents.events import PlanEnded

TOLD = "told"  # kept beside the conversation's pins: the change it was told last


def switch_note(ended: PlanEnded, told: str, locale: str = "en") -> tuple[str, str]:
    """The sentence, or nothing; and what the conversation has been told from now on."""
    if ended.state != "answered":
        return _failures(ended, locale), told
    now = ">".join((*(route for route, _ in ended.instead_of), ended.route))
    now = now if ended.instead_of else ""
    if now == told:
        return "", told
    if now:
        why = _failures(ended, locale)
        return say(locale, "{why}, so `{route}` answered", why=why, route=ended.route), now
    was_first = told.partition(">")[0]
    if ended.route != was_first:
        return "", ""
    return say(locale, "`{route}` answers again", route=was_first), ""


def _failures(ended: PlanEnded, locale: str) -> str:
    return "; ".join(
        say(locale, "`{route}` could not serve ({why})", route=route, why=why)
        for route, why in ended.instead_of
    )
