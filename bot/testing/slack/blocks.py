"""Which blocks a message may hold: the platform's kinds and limits."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
MARKDOWN_CHARS = 12_000  # over all markdown blocks of one message
BLOCKS = 50
TABLE_ROWS, TABLE_COLUMNS, TABLE_CHARS = 100, 20, 10_000


def fault_of(blocks: list[Json]) -> str:
    """The platform's word for what is wrong, or nothing."""
    kinds = {"markdown": _is_markdown, "actions": _is_actions, "table": _is_table}
    if len(blocks) > BLOCKS:
        return "invalid_blocks"
    if not all(block.get("type") in kinds and kinds[block["type"]](block) for block in blocks):
        return "invalid_blocks"
    if sum(block["type"] == "table" for block in blocks) > 1:
        return "invalid_attachments"
    markdown = sum(len(block["text"]) for block in blocks if block["type"] == "markdown")
    return "msg_blocks_too_long" if markdown > MARKDOWN_CHARS else ""


def text_of(block: Json) -> str:
    """What a person reads in it."""
    if block.get("type") == "table":
        return "\n".join(" | ".join(cell["text"] for cell in row) for row in block["rows"])
    return str(block.get("text", "")) if isinstance(block.get("text"), str) else ""


def _is_markdown(block: Json) -> bool:
    return bool(block.get("text"))


def _is_actions(block: Json) -> bool:
    """1 to 25 buttons with the platform's lengths, each with an action id of its own."""
    buttons = block.get("elements") or []
    ids = {str(button.get("action_id", "")) for button in buttons}
    return 0 < len(buttons) <= 25 and len(ids) == len(buttons) and all(map(_is_button, buttons))


def _is_button(button: Json) -> bool:
    label = button.get("text") or {}
    return (
        button.get("type") == "button"
        and label.get("type") == "plain_text"
        and 0 < len(label.get("text", "")) <= 75
        and 0 < len(button.get("action_id", "")) <= 255
        and len(button.get("value", "")) <= 2000
        and len(button.get("accessibility_label", "")) <= 75
    )


def _is_table(block: Json) -> bool:
    rows = block.get("rows") or []
    cells = [cell for row in rows for cell in row]
    return (
        0 < len(rows) <= TABLE_ROWS
        and all(0 < len(row) <= TABLE_COLUMNS for row in rows)
        and all(cell.get("type") == "raw_text" and cell.get("text") for cell in cells)
        and sum(len(cell["text"]) for cell in cells) <= TABLE_CHARS
        and len(block.get("column_settings") or ()) <= TABLE_COLUMNS
    )
