"""The example of docs/tools.md, run as it stands, and what the page says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bot.testing.conversation import Conversation
from tools.toolbox import load_tools

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tools.md").read_text(encoding="utf-8")
MOST_LINES = 60


def example() -> str:
    found = re.search(r"```python\n(# my_tools.py\n.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def firstline_settings(tmp_path: Path) -> Mapping[str, Any]:
    file = tmp_path / "my_tools.py"
    file.write_text(example())
    return {"tools.file": str(file)}


def test_the_example_is_short_and_loads(tmp_path: Path) -> None:
    file = tmp_path / "my_tools.py"
    file.write_text(example())
    effects = {each.name: each.effect for each in load_tools(file)}

    assert effects == {"stock_of": "read", "order": "write", "cancel_all_orders": "destructive"}
    assert len(example().splitlines()) <= MOST_LINES


async def test_the_examples_read_tool_leaves_the_conversation_clean(
    slack_conversation: Conversation,
) -> None:
    model = slack_conversation.model
    model.calls("stock_of", article="hammer").calls("order", article="hammer").says("Ordered.")
    assert await slack_conversation.ask("Order a hammer if there is one") == "Ordered."

    told = model.requests[-1].messages[-1].text
    assert "ordered hammer for U1" in told


async def test_the_examples_destructive_tool_waits_for_a_press(
    slack_conversation: Conversation,
) -> None:
    slack_conversation.model.calls("cancel_all_orders").says("All cancelled.")
    assert "cancel_all_orders" in await slack_conversation.ask("Cancel all orders")
    assert await slack_conversation.press("approve") == "All cancelled."


async def test_a_tool_is_told_who_asks_and_never_by_the_model(
    slack_conversation: Conversation,
) -> None:
    """Row G3: whatever a model puts into the arguments is no principal."""
    forged = {"article": "saw", "principal": "U2", "user_id": "U2", "context": {"user": "U2"}}
    model = slack_conversation.model
    model.calls("order", **forged).calls("order", article="saw").says("Done.")
    await slack_conversation.ask("Order a saw")

    told = "\n".join(message.text for message in model.requests[-1].messages)
    assert "ordered saw for U1" in told
    assert "for U2" not in told
