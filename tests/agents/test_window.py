"""The memory window: always within the budget, and never a result without its call."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.models.scripted import ScriptedBackend
from agents.ports import Capabilities
from agents.prompts.planner import prompt_head
from agents.turns import Called, Returned, Text, Turn
from agents.window import Packed, Packer
from tests.agents.planning import PERSON, PLACE, user
from tools.contract import ToolCall, ToolResult
from tools.toolbox import Toolbox, built_in_tools

CONTEXT, ANSWER = 2048, 500
HEAD = prompt_head(Toolbox(built_in_tools()).offered(PERSON, PLACE, has_images=False))
BACKEND = ScriptedBackend("a", (), capabilities=Capabilities(context_tokens=CONTEXT))

WORDS = st.sampled_from([1, 20, 200, 5000])
EXCHANGES = st.lists(st.tuples(WORDS, st.lists(WORDS, max_size=3), WORDS), max_size=20)


def exchange(number: int, asked: int, results: list[int], said: int) -> list[Turn]:
    turns = [user(f"question {number} " + "word " * asked)]
    for step, words in enumerate(results):
        call = ToolCall(f"{number}.{step}", "calculate", {"expression": "1+1"})
        result = ToolResult(call.call_id, call.name, "digit " * words)
        turns.append(Turn("assistant", (Called(call),)))
        turns.append(Turn("tool", (Returned(result),)))
    return [*turns, Turn("assistant", (Text("answer " * min(said, 200)),))]


async def packed(history: list[Turn], question: Turn, summary: str = "") -> Packed:
    window = await Packer().open(
        BACKEND,
        head=HEAD,
        summary=summary,
        history=history,
        question=question,
        place=PLACE,
        answer_tokens=ANSWER,
    )
    return await window.pack([])


async def cost(prompt: Packed) -> int:
    overhead = BACKEND.capabilities.message_overhead_tokens
    return sum([await BACKEND.count_tokens(each.text) + overhead for each in prompt.messages])


@given(EXCHANGES, WORDS, st.sampled_from([0, 30, 4000]))
@settings(max_examples=60, deadline=None)
async def test_any_history_fits_and_keeps_each_call_with_its_result(
    exchanges: list[tuple[int, list[int], int]], asked: int, summary: int
) -> None:
    history = [turn for n, each in enumerate(exchanges) for turn in exchange(n, *each)]
    prompt = await packed(history, user("now " + "word " * asked), "so " * summary)

    assert await cost(prompt) <= CONTEXT - ANSWER
    assert prompt.messages[: len(HEAD)] == HEAD
    assert "now word" in prompt.messages[-1].text
    kept = prompt.messages[len(HEAD) :]
    for before, message in pairwise(kept):
        if message.text.startswith("Result of calculate"):
            assert before.role == "assistant"
            assert '"calculate"' in before.text
    called = sum('"calculate"' in each.text for each in kept if each.role == "assistant")
    assert called == sum(each.text.startswith("Result of calculate") for each in kept)


async def test_a_history_over_the_budget_loses_its_oldest_exchanges_whole() -> None:
    history = [turn for n in range(20) for turn in exchange(n, 20, [20], 20)]
    prompt = await packed(history, user("now"))

    kept = [each.text for each in prompt.messages[len(HEAD) : -1]]
    asked = [text for text in kept if "question " in text]
    assert 0 < len(asked) < 20
    assert kept[0] == asked[0]  # it begins with what a person asked
    assert "question 19 " in asked[-1]
