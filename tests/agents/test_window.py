"""The memory window: always within the budget, and never a result without its call."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.models.scripted import ScriptedBackend
from agents.errors import PromptTooLong
from agents.ports import Capabilities, ImageData, ModelBackend, PromptMessage
from agents.prompts.planner import prompt_head, step_text
from agents.prompts.templates import render
from agents.turns import Called, Returned, Text, Turn
from agents.window import Counter, Packed, Packer, Window, result_message
from tests.agents.planning import PERSON, PLACE, user
from tests.agents.published_templates import PHI3_IDS
from tests.agents.test_image_cost import encoded
from tests.agents.test_templates import TAGS, ids
from tools.contract import ToolCall, ToolResult
from tools.toolbox import Toolbox, built_in_tools

CONTEXT, ANSWER = 2048, 500
HEAD = prompt_head(Toolbox(built_in_tools()).offered(PERSON, PLACE, has_images=False))
BACKEND = ScriptedBackend("a", (), capabilities=Capabilities(context_tokens=CONTEXT))

WORDS = st.sampled_from([1, 20, 200, 5000])
EXCHANGES = st.lists(st.tuples(WORDS, st.lists(WORDS, max_size=3), WORDS), max_size=20)


class LetterBackend(ScriptedBackend):
    """Counts as a model would that has Phi-3's tags and a token for each letter."""

    async def count_tokens(self, text: str) -> int:
        return len(ids(PHI3_IDS, text))


def exchange(number: int, asked: int, results: list[int], said: int) -> list[Turn]:
    turns = [user(f"question {number} " + "word " * asked)]
    for step, words in enumerate(results):
        call = ToolCall(f"{number}.{step}", "calculate", {"expression": "1+1"})
        result = ToolResult(call.call_id, call.name, "digit " * words)
        turns.append(Turn("assistant", (Called(call),)))
        turns.append(Turn("tool", (Returned(result),)))
    return [*turns, Turn("assistant", (Text("answer " * min(said, 200)),))]


async def opened(
    history: list[Turn],
    question: Turn,
    summary: str = "",
    *,
    backend: ModelBackend = BACKEND,
    head: Sequence[PromptMessage] = HEAD,
) -> Window:
    return await Packer().open(
        backend,
        head=head,
        summary=summary,
        history=history,
        question=question,
        place=PLACE,
        answer_tokens=ANSWER,
    )


async def packed(history: list[Turn], question: Turn, summary: str = "") -> Packed:
    return await (await opened(history, question, summary)).pack([])


async def cost(messages: Sequence[PromptMessage]) -> int:
    overhead = BACKEND.capabilities.message_overhead_tokens
    return sum([await BACKEND.count_tokens(each.text) + overhead for each in messages])


def check_pairs(messages: Sequence[PromptMessage]) -> None:
    """Each result stands after its call, and each call before its result."""
    for before, message in pairwise(messages):
        if message.text.startswith("Result of calculate"):
            assert before.role == "assistant"
            assert '"calculate"' in before.text
    called = sum('"calculate"' in each.text for each in messages if each.role == "assistant")
    assert called == sum(each.text.startswith("Result of calculate") for each in messages)


@given(EXCHANGES, WORDS, st.sampled_from([0, 30, 4000]))
@settings(max_examples=60, deadline=None)
async def test_any_history_fits_and_keeps_each_call_with_its_result(
    exchanges: list[tuple[int, list[int], int]], asked: int, summary: int
) -> None:
    history = [turn for n, each in enumerate(exchanges) for turn in exchange(n, *each)]
    prompt = await packed(history, user("now " + "word " * asked), "so " * summary)

    assert await cost(prompt.messages) <= CONTEXT - ANSWER
    assert prompt.messages[: len(HEAD)] == HEAD
    assert "now word" in prompt.messages[-1].text
    check_pairs(prompt.messages[len(HEAD) :])


@given(
    EXCHANGES,
    st.lists(st.tuples(st.sampled_from([1, 60]), WORDS), max_size=8),
    WORDS,
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
async def test_a_turns_own_steps_fit_or_the_oldest_go_with_their_results(
    exchanges: list[tuple[int, list[int], int]],
    steps: list[tuple[int, int]],
    asked: int,
    corrected: bool,
) -> None:
    history = [turn for n, each in enumerate(exchanges) for turn in exchange(n, *each)]
    extra = [PromptMessage("user", "That was not a valid step.")] * corrected
    made: list[PromptMessage] = []
    for number, (planned, words) in enumerate(steps):
        expression = f"{number}" + " 1" * planned
        made.append(PromptMessage("assistant", step_text([("calculate", {"x": expression})])))
        found = ToolResult(f"{number}", "calculate", "digit " * words)
        made.append(result_message(found))
    window = await opened(history, user("now " + "word " * asked), "so " * 4000)

    prompt = await window.pack(made, extra)

    assert await cost(prompt.messages) <= CONTEXT - ANSWER
    last = prompt.messages.index(window.last)
    kept = prompt.messages[last + 1 : len(prompt.messages) - len(extra)]
    check_pairs(kept)
    assert [each.text for each in kept if each.role == "assistant"] == [
        each.text for each in made[len(made) - len(kept) :] if each.role == "assistant"
    ]
    assert len(kept) >= min(len(made), 2)


HOSTILE = st.tuples(
    st.lists(st.sampled_from([*TAGS, "word ", "\n"]), max_size=8), st.sampled_from([1, 20, 200])
).map(lambda some: "".join(some[0]) * some[1])


@given(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=6), HOSTILE, HOSTILE)
@settings(max_examples=40, deadline=None)
async def test_the_rendered_prompt_fits_by_the_models_own_count_whatever_was_typed(
    exchanges: list[tuple[str, str]], asked: str, found: str
) -> None:
    """A broken tag is many tokens, where the tag itself was one."""
    limits = Capabilities(context_tokens=4096)
    backend = LetterBackend("letters", (), capabilities=limits)
    history = []
    for question, answer in exchanges:
        history += [user(question), Turn("assistant", (Text(answer),))]
    steps = [
        PromptMessage("assistant", step_text([("calculate", {"expression": "1"})])),
        result_message(ToolResult("1", "calculate", found)),
    ]
    window = await opened(history, user(asked), backend=backend, head=HEAD[:1])

    prompt = await window.pack(steps)

    rendered = render("phi3", prompt.messages)
    assert len(ids(PHI3_IDS, rendered)) <= limits.context_tokens - ANSWER


async def test_a_history_over_the_budget_loses_its_oldest_exchanges_whole() -> None:
    history = [turn for n in range(20) for turn in exchange(n, 20, [20], 20)]
    prompt = await packed(history, user("now"))

    kept = [each.text for each in prompt.messages[len(HEAD) : -1]]
    asked = [text for text in kept if "question " in text]
    assert 0 < len(asked) < 20
    assert kept[0] == asked[0]  # it begins with what a person asked
    assert "question 19 " in asked[-1]


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))
@settings(max_examples=100, deadline=None)
async def test_what_was_said_last_stays_if_it_fits_by_itself(
    before: int, asked: int, said: int
) -> None:
    history = [*exchange(0, before, [], before), *exchange(1, asked, [], said)]
    window = await opened(history, user("now"))

    prompt = await window.pack([])

    newest = window.exchanges[-1]
    if await cost(newest) <= min(window.left, int(window.room * 0.8)):
        assert prompt.messages[-1 - len(newest) : -1] == newest


async def test_a_growing_conversation_is_cut_seldom_and_else_only_added_to() -> None:
    roomy = ScriptedBackend("roomy", (), capabilities=Capabilities(context_tokens=2 * CONTEXT))
    history: list[Turn] = []
    begins: list[str] = []
    before: tuple[PromptMessage, ...] = ()
    for number in range(80):
        question = user(f"question {number} " + "word " * 12)
        now = await (await opened(history, question, backend=roomy)).pack([])
        if begins and now.messages[len(HEAD)].text == begins[-1]:
            assert now.messages[: len(before)] == before
        begins.append(now.messages[len(HEAD)].text)
        before = now.messages
        history += exchange(number, 12, [5], 15)

    cuts = [number for number, (was, now) in enumerate(pairwise(begins)) if was != now]
    assert len(cuts) >= 3
    assert min(later - sooner for sooner, later in pairwise(cuts)) >= 8


async def test_what_can_not_fit_is_refused_with_the_numbers() -> None:
    long = [PromptMessage("system", "word " * 3000)]
    window = await opened([], user("now"), head=long)

    with pytest.raises(PromptTooLong) as caught:
        await window.pack([])

    assert caught.value.limit == CONTEXT - ANSWER
    assert caught.value.tokens == await cost([*long, window.last])


async def test_an_image_costs_by_its_size() -> None:
    limits = Capabilities(8192, max_images=1, image_tokens=781, num_crops=4)
    counter = Counter(ScriptedBackend("eyes", (), capabilities=limits), {})
    banner = encoded((3000, 500), "PNG", "RGB")
    unread = ImageData(b"", "image/png")

    assert await counter.cost(PromptMessage("user", "look", (banner,))) == 1 + 8 + 745
    assert await counter.cost(PromptMessage("user", "look", (unread,))) == 1 + 8 + 781


async def test_a_text_is_counted_once() -> None:
    class Counting(ScriptedBackend):
        asked = 0

        async def count_tokens(self, text: str) -> int:
            self.asked += 1
            return await super().count_tokens(text)

    backend = Counting("a", (), capabilities=Capabilities(context_tokens=CONTEXT))
    packer = Packer()
    history = exchange(1, 20, [20], 20)
    for _ in range(3):
        await packer.open(
            backend,
            head=HEAD,
            summary="",
            history=history,
            question=user("now"),
            place=PLACE,
            answer_tokens=ANSWER,
        )

    assert backend.asked == len({each.text for each in HEAD}) + len(history) + 1


@pytest.mark.parametrize("words", [1, 50, 5000])
async def test_what_is_known_of_a_person_stands_before_the_question_and_takes_a_small_share(
    words: int,
) -> None:
    window = await Packer().open(
        BACKEND,
        head=HEAD,
        summary="summary " * 300,
        history=[turn for number in range(20) for turn in exchange(number, 20, [20], 20)],
        question=user("why? " * 3000),
        place=PLACE,
        answer_tokens=ANSWER,
        about="fact " * words,
    )
    packed = await window.pack(())
    known, asked = packed.messages[-2:]

    assert known.text.startswith("About the person who asks, in their words:\nfact")
    assert asked == window.last
    assert await cost(list(packed.messages)) <= CONTEXT - ANSWER
    assert await cost([known]) <= max(window.room * 0.05, 60)
