"""Calling a person: what a small assistant should do before it guesses."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tools.contract import Labelled, ToolContext, ToolError
from tools.decorator import tool
from tools.labels import Label


@tool(
    effect="write",
    idempotency="key",
    timeout_s=20,
    example=(
        "This does not help, I want to talk to a human.",
        {"reason": "asks for a person", "summary": "Their invoice 12 was charged twice."},
    ),
)
async def hand_over(
    context: ToolContext,
    reason: Annotated[str, Field(min_length=1, max_length=200)],
    summary: Annotated[str, Field(min_length=1, max_length=1000)],
) -> Labelled:
    """Call a person of the team, with a summary of the conversation, when you can't help or are
    asked to. You say nothing more here until they are done."""
    if context.hand_over is None:
        raise ToolError("nobody can be called here")
    await context.hand_over(reason, summary)
    told = "A person of the team was called. Tell them that somebody will answer here."
    return Labelled(told, Label())
