"""Search in the running conversation's own memory."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from tools.contract import Labelled, ToolContext
from tools.decorator import tool
from tools.labels import Label, join_labels

_FOUND = 5
_CHARS = 500


@tool(
    effect="read",
    idempotency="natural",
    timeout_s=10,
    example=("What did I say about the printer before?", {"query": "printer"}),
)
async def search_conversation(
    context: ToolContext, query: Annotated[str, Field(min_length=1, max_length=100)]
) -> Labelled:
    """Search what was said earlier in this conversation."""
    found = await context.search(query, _FOUND)
    if not found:
        return Labelled("Nothing about that was said in this conversation.", Label())
    lines = [
        f"{datetime.fromtimestamp(each.said_at, UTC):%Y-%m-%d %H:%M} UTC, "
        f"{each.role}: {each.text[:_CHARS]}"
        for each in found
    ]
    return Labelled("\n".join(lines), join_labels(each.label for each in found))
