"""A remembered conversation as the page shows it: a turn's tool calls stand in its answer."""

from __future__ import annotations

import json
from collections.abc import Iterable

from adapters.chat.browser import ShownTurn
from adapters.chat.types import Activity
from agents.turns import Called, Returned, Turn
from tools.contract import ToolCall, ToolResult

_DETAIL_CHARS = 300


def shown_turns(turns: Iterable[Turn]) -> list[ShownTurn]:
    """What was said, in order; calls and results become activities of the next answer."""
    shown: list[ShownTurn] = []
    calls: dict[str, ToolCall] = {}
    steps: list[Activity] = []
    for turn in turns:
        calls |= {part.call.call_id: part.call for part in turn.parts if isinstance(part, Called)}
        steps += [
            _activity(calls.get(part.result.call_id), part.result)
            for part in turn.parts
            if isinstance(part, Returned)
        ]
        if turn.role == "user":
            files = (
                *(image.name for image in turn.images),
                *(file.name for file in turn.documents),
            )
            shown.append(ShownTurn("user", turn.text, turn.said_at, file_names=files))
            steps.clear()
        elif turn.role == "assistant" and turn.text:
            shown.append(ShownTurn("assistant", turn.text, turn.said_at, tuple(steps)))
            steps.clear()
    return shown


def _activity(call: ToolCall | None, result: ToolResult) -> Activity:
    arguments = json.dumps(call.arguments, ensure_ascii=False)[:_DETAIL_CHARS] if call else ""
    detail = " → ".join(filter(None, (arguments, result.text[:_DETAIL_CHARS])))
    return Activity(result.name, "failed" if result.is_error else "done", detail)
