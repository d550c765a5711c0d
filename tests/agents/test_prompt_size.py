"""The fixed prompt's size: by the demonstration model's own tokenizer, and as it is logged."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from adapters.models.scripted import ScriptedBackend
from agents.ports import Capabilities
from agents.prompts.planner import prompt_head
from agents.prompts.templates import render
from agents.window import Packer
from bot.tool_wiring import tell_prompt_size
from tests.agents.planning import PLACE, user
from tests.agents.test_planner import ten_tools
from tests.engine import lent_backend
from tools.toolbox import Toolbox


@pytest.mark.engine
async def test_ten_tools_and_their_examples_take_at_most_a_thousand_tokens() -> None:
    async with lent_backend() as backend:
        overhead = backend.capabilities.message_overhead_tokens
        head = prompt_head(ten_tools())
        reckoned = sum([await backend.count_tokens(each.text) + overhead for each in head])
        rendered = await backend.count_tokens(render("chatml", head))

    assert rendered <= reckoned <= 1000


def test_the_size_is_told_at_start_and_a_large_one_warned_of() -> None:
    toolbox = Toolbox(ten_tools())
    with capture_logs() as logs:
        tell_prompt_size(toolbox, "Be kind.")
        tell_prompt_size(toolbox, "Be kind. " * 1000)

    first, second, warned = logs
    assert (first["event"], first["tools"], first["log_level"]) == ("prompt.estimated", 10, "info")
    assert 800 <= first["tokens"] <= 1600
    assert second["tokens"] > 3000
    assert (warned["event"], warned["log_level"]) == ("prompt.large", "warning")
    assert not [each for each in logs if "kind" in str(each)]  # never the operator's own words


async def test_a_backends_own_count_is_told_once() -> None:
    backend = ScriptedBackend("a", (), capabilities=Capabilities(context_tokens=4096))
    packer, head = Packer(), prompt_head(ten_tools())
    with capture_logs() as logs:
        for number in range(3):
            await packer.open(
                backend,
                head=head,
                summary="",
                history=[],
                question=user(f"question {number}"),
                place=PLACE,
                answer_tokens=500,
            )

    tokens = sum([await backend.count_tokens(each.text) + 8 for each in head])
    told = {"backend": "a", "tokens": tokens, "context_tokens": 4096}
    assert logs == [{"event": "prompt.fixed", "log_level": "info", **told}]
