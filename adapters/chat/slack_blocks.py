"""What a message of ours is made of: markdown, tables, buttons, the mark it is found by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.chat import sentences
from adapters.chat.slack_tables import table_block, with_table
from adapters.chat.slack_text import fallback, unpinged
from adapters.chat.types import Offers, PressKind

PART_CHARS = 11_000  # a markdown block takes 12,000
MARK = "firstline_part"
STOP = "firstline_stop"
AGAIN = "firstline_again"
UP, DOWN = "firstline_up", "firstline_down"
APPROVE, DENY = "firstline_approve", "firstline_deny"
RESOLVE = "firstline_resolve"
PRESSES: Mapping[str, PressKind] = {
    STOP: "stop",
    AGAIN: "again",
    UP: "up",
    DOWN: "down",
    APPROVE: "approve",
    DENY: "deny",
    RESOLVE: "resolve",
}
NO_TABLES = frozenset(  # what Slack says where it takes no table after all
    {"invalid_attachments", "invalid_blocks", "invalid_blocks_format", "only_one_table_allowed"}
)
_LABELS = {
    STOP: sentences.mark("Stop"),
    AGAIN: sentences.mark("Try again"),
    UP: "👍",
    DOWN: "👎",
    APPROVE: sentences.mark("Approve"),
    DENY: sentences.mark("Refuse"),
    RESOLVE: sentences.mark("Resolved"),
}
_SAID = {
    UP: sentences.mark("Good answer"),
    DOWN: sentences.mark("Bad answer"),
}  # for who hears the page


def content(
    channel: str,
    text: str,
    *,
    buttons: Mapping[str, str] | None = None,
    tables: bool = False,
    locale: str = "en",
) -> dict[str, Any]:
    """Arguments of a post or an edit; links never unfold and nobody can be pinged.

    `buttons` maps action ids to the event id they carry; an edit without them removes them.
    `tables` shows the first table that keeps Slack's limits as one; others stay Markdown.
    """
    shown = unpinged(text.strip("\n")) if text.strip() else "…"
    blocks = _blocks(shown) if tables else [_markdown(shown)]
    if buttons:
        blocks.append(actions(buttons, locale=locale))
    return {
        "channel": channel,
        "text": fallback(shown),
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
        "parse": "none",
        "link_names": False,
    }


def actions(buttons: Mapping[str, str], *, locale: str) -> dict[str, Any]:
    """Buttons in a row; the keys are action ids, the values the event ids they carry."""
    return {"type": "actions", "elements": [_button(*each, locale) for each in buttons.items()]}


def has_table(args: Mapping[str, Any]) -> bool:
    return any(each["type"] == "table" for each in args["blocks"])


def under_answer(event_id: str, offers: Offers, *, rating: bool) -> dict[str, str]:
    """The buttons under a final answer; without `rating` it is not asked how good it is."""
    rated = offers.rating and rating
    wanted = {
        APPROVE: offers.press,
        DENY: offers.press,
        RESOLVE: offers.resolve,
        AGAIN: offers.again,
        UP: rated,
        DOWN: rated,
    }
    return {action_id: event_id for action_id, is_there in wanted.items() if is_there}


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


def _blocks(shown: str) -> list[dict[str, Any]]:
    if (found := with_table(shown)) is None:
        return [_markdown(shown)]
    before, rows, aligned, after = found
    around = [_markdown(each) if each.strip() else None for each in (before, after)]
    return [each for each in (around[0], table_block(rows, aligned), around[1]) if each]


def _markdown(text: str) -> dict[str, Any]:
    return {"type": "markdown", "text": text}


def _button(action_id: str, event_id: str, locale: str) -> dict[str, Any]:
    label = {"type": "plain_text", "text": sentences.say(locale, _LABELS[action_id]), "emoji": True}
    button = {"type": "button", "action_id": action_id, "text": label, "value": event_id}
    if action_id not in _SAID:
        return button
    return button | {"accessibility_label": sentences.say(locale, _SAID[action_id])}
