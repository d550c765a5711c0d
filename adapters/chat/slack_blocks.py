"""What a message of ours is made of: a markdown block, buttons, the mark it is found by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from adapters.chat.slack_text import fallback, unpinged

PART_CHARS = 11_000  # a markdown block takes 12,000
MARK = "firstline_part"
STOP = "firstline_stop"
AGAIN = "firstline_again"
PRESSES: Mapping[str, Literal["stop", "again"]] = {STOP: "stop", AGAIN: "again"}
_LABELS = {STOP: "Stop", AGAIN: "Try again"}


def content(channel: str, text: str, *, buttons: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Arguments of a post or an edit; links never unfold and nobody can be pinged.

    `buttons` maps action ids to the event id they carry; an edit without them removes them.
    """
    shown = unpinged(text.strip("\n")) if text.strip() else "…"
    blocks: list[dict[str, Any]] = [{"type": "markdown", "text": shown}]
    if buttons:
        blocks.append({"type": "actions", "elements": [_button(*each) for each in buttons.items()]})
    return {
        "channel": channel,
        "text": fallback(shown),
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
        "parse": "none",
        "link_names": False,
    }


def mark(token: str) -> dict[str, Any]:
    """Metadata by which a message is found again; an edit without any keeps the old."""
    return {"event_type": MARK, "event_payload": {"token": token}}


def button_values(message: Mapping[str, Any], action_id: str) -> list[str]:
    """The event ids under a message's buttons of one kind."""
    elements = (
        element
        for block in message.get("blocks") or ()
        if block.get("type") == "actions"
        for element in block.get("elements") or ()
    )
    return [str(each.get("value", "")) for each in elements if each.get("action_id") == action_id]


def _button(action_id: str, event_id: str) -> dict[str, Any]:
    label = {"type": "plain_text", "text": _LABELS[action_id]}
    return {"type": "button", "action_id": action_id, "text": label, "value": event_id}
