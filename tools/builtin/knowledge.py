"""Search in the team's own documents: passages with the numbers an answer cites them by."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tools.contract import Labelled, Passage, ToolContext, ToolError
from tools.decorator import tool
from tools.labels import Label, join_labels

PASSAGES = 5
_CHARS = 1200
_NOTHING = "Nothing about that is in the documents."
_HOW = "Answer only from these passages; after each sentence, put the number it rests on, as [1]."


@tool(
    effect="read",
    idempotency="natural",
    timeout_s=15,
    example=("How do I book travel?", {"query": "book travel"}),
)
async def search_knowledge(
    context: ToolContext, query: Annotated[str, Field(min_length=1, max_length=300)]
) -> Labelled:
    """Search the team's documents and handbooks."""
    if context.knowledge is None:
        raise ToolError("there are no documents here")
    found = await context.knowledge(query, PASSAGES)
    if not found:
        return Labelled(_NOTHING, Label())
    return Labelled(f"{_HOW}\n\n{shown(found)}", join_labels(each.label for each in found))


def shown(passages: list[Passage]) -> str:
    return "\n\n".join(f"[{each.number}] {each.heading}\n{each.text[:_CHARS]}" for each in passages)
