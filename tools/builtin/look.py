"""Ask vision again about an image of the conversation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tools.contract import Labelled, ToolContext
from tools.decorator import tool


@tool(
    effect="read",
    idempotency="natural",
    timeout_s=120,  # a vision model on two cores takes its time
    example=(
        "Which error code does the picture show?",
        {"image": 1, "question": "Which error code is shown?"},
    ),
    needs_images=True,
)
async def look(
    context: ToolContext,
    image: Annotated[int, Field(ge=1, le=99)],
    question: Annotated[str, Field(min_length=1, max_length=300)],
) -> Labelled:
    """Look at an image of this conversation again, with a question."""
    seen = await context.look(image, question)
    return Labelled(seen.text, seen.label)
