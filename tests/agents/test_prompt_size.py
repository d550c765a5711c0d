"""The fixed prompt's size by the demonstration model's own tokenizer."""

from __future__ import annotations

import pytest

from agents.prompts.planner import prompt_head
from tests.agents.test_planner import ten_tools
from tests.engine import lent_backend

pytestmark = pytest.mark.engine


async def test_ten_tools_and_their_examples_take_at_most_a_thousand_tokens() -> None:
    async with lent_backend() as backend:
        overhead = backend.capabilities.message_overhead_tokens
        head = prompt_head(ten_tools())
        tokens = [await backend.count_tokens(message.text) + overhead for message in head]

    assert sum(tokens) <= 1000
