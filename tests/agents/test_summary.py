"""Summaries: whole exchanges, within the window, and never for more readers than their parts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.models.scripted import Say, ScriptedBackend
from adapters.models.scripted_replies import Fail
from agents.budget import Budget, BudgetLimits, Payer
from agents.errors import BackendError, NoRouteError
from agents.ports import Capabilities, Placement
from agents.routing import Router
from agents.summary import MAX_CHARS, Summarizer, Summary, exchanges_of, flowing
from agents.turns import Called, Image, Returned, Text, Turn
from tests.agents.planning import KEY, NOW, PERSON, route
from tools.contract import ToolCall, ToolResult
from tools.identity import Place, PlaceKind, Principal, PrincipalKind
from tools.labels import Integrity, Label, audience_of, join_labels, label_of

KINDS: Sequence[PlaceKind] = ("dm", "private", "public", "external")
PEOPLE: Sequence[PrincipalKind] = ("operator", "member", "guest", "external", "bot")
TENANTS = st.sampled_from(["slack:T1", "slack:T2", "discord:T1"])
PLACES = st.builds(
    lambda tenant, kind, channel: Place(tenant, kind, channel),
    TENANTS,
    st.sampled_from(KINDS),
    st.sampled_from(["C1", "C2"]),
)


def spoken_at(place: Place, user: str, kind: PrincipalKind) -> tuple[Place, Principal]:
    return place, Principal(place.tenant, user, kind)


VOICES = st.builds(spoken_at, PLACES, st.sampled_from(["U1", "U2"]), st.sampled_from(PEOPLE))


def exchange(number: int, label: Label | None = None, *, words: int = 5) -> list[Turn]:
    call = ToolCall("1", "calculate", {"expression": "1+1"})
    result = ToolResult("1", "calculate", f"result {number}")
    label = label or Label()
    said = f"question {number} " + "word " * words
    return [
        Turn("user", (Text(said), Image("a", "image/png", seen=f"seen {number}")), label, number),
        Turn("assistant", (Called(call),), label, number),
        Turn("tool", (Returned(result),), label, number),
        Turn("assistant", (Text(f"answer {number}"),), label, number),
    ]


def summarizer(*backends: ScriptedBackend, placement: Placement = "local") -> Summarizer:
    return Summarizer(Router({"planner": [route(each, placement) for each in backends]}))


def model(text: str = "the notes", context_tokens: int = 2000) -> ScriptedBackend:
    capabilities = Capabilities(context_tokens=context_tokens)
    return ScriptedBackend("small", lambda request: Say(text), capabilities=capabilities)


async def test_the_model_reads_every_kind_of_part_and_its_notes_go_behind_the_old_ones() -> None:
    backend = model()
    before = Summary("old notes", Label(), 1.0)
    folded = await summarizer(backend).fold(before, [exchange(7)])
    told = "\n".join(message.text for message in backend.requests[0].messages)

    assert folded is not None
    assert folded.exchanges == 1
    assert (folded.summary.text, folded.summary.route) == ("old notes\nthe notes", "small")
    assert folded.summary.said_until == 7
    assert "old notes" not in told  # a small model would only say them again
    for part in ("question 7", "seen 7", "used calculate", "result 7", "answer 7"):
        assert part in told


async def test_only_old_notes_that_grew_too_long_are_written_anew() -> None:
    backend = model()  # its window gives all notes 160 tokens
    before = Summary("an old note " * 60, Label(), 1.0)
    folded = await summarizer(backend).fold(before, [exchange(7)])
    shorter = backend.requests[1]

    assert folded is not None
    assert folded.summary.text == "the notes\nthe notes"
    assert "an old note" in shorter.messages[1].text
    assert shorter.max_tokens == 80


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=12))
async def test_as_many_whole_exchanges_go_in_as_the_model_can_read(sizes: list[int]) -> None:
    backend = model(context_tokens=1500)
    exchanges = [exchange(number, words=words) for number, words in enumerate(sizes)]
    folded = await summarizer(backend).fold(None, exchanges)
    request = backend.requests[0]
    told = "\n".join(message.text for message in request.messages)

    assert folded is not None
    assert 1 <= folded.exchanges <= len(sizes)
    for number in range(len(sizes)):
        assert (f"answer {number}" in told) == (number < folded.exchanges)
    cost = [await backend.count_tokens(message.text) + 8 for message in request.messages]
    assert sum(cost) + request.max_tokens <= 1500


@settings(max_examples=200, deadline=None)
@given(voices=st.lists(VOICES, min_size=1, max_size=5), reader=VOICES)
async def test_a_summary_reaches_only_who_may_read_each_part_of_it(
    voices: list[tuple[Place, Principal]], reader: tuple[Place, Principal]
) -> None:
    parts = [label_of(*voice) for voice in voices]
    exchanges = [exchange(number, label) for number, label in enumerate(parts)]
    half = await summarizer(model()).fold(None, exchanges[:1])
    assert half is not None
    whole = await summarizer(model()).fold(half.summary, exchanges[1:] or exchanges)
    assert whole is not None
    audience = audience_of(*reader)

    if whole.summary.label.may_flow_to(audience):
        assert all(part.may_flow_to(audience) for part in parts)
        assert all(place.tenant == reader[0].tenant for place, _ in voices)
    assert whole.summary.label.integrity >= max(part.integrity for part in parts)
    assert whole.summary.label.integrity >= Integrity.USER
    assert whole.summary.label.readers == join_labels(parts).readers


@settings(max_examples=200, deadline=None)
@given(voices=st.lists(VOICES, max_size=6), reader=VOICES)
def test_history_is_told_by_whole_exchanges_and_to_nobody_who_may_not_read_all_of_one(
    voices: list[tuple[Place, Principal]], reader: tuple[Place, Principal]
) -> None:
    turns = [turn for number, each in enumerate(voices) for turn in exchange(number)]
    turns = [
        # A tool may have read something that fewer people may see.
        turn if turn.role != "tool" else Turn(turn.role, turn.parts, label_of(*voices[at // 4]))
        for at, turn in enumerate(turns)
    ]
    audience = audience_of(*reader)
    told = flowing(turns, audience)

    assert all(turn.label.may_flow_to(audience) for turn in told)
    assert [turn for each in exchanges_of(told) for turn in each] == list(told)
    assert all(len(each) == 4 for each in exchanges_of(told))
    may = [label_of(*voice).may_flow_to(audience) for voice in voices]
    assert len(told) == 4 * sum(may)


def test_what_was_said_in_a_private_channel_is_not_told_where_it_became_public() -> None:
    member = Principal("slack:T1", "U1", "member")
    label = label_of(Place("slack:T1", "private", "C1"), member)
    readers: list[tuple[PlaceKind, bool]] = [
        ("private", True),
        ("public", False),
        ("external", False),
        ("dm", False),
    ]
    for kind, may in readers:
        audience = audience_of(Place("slack:T1", kind, "C1"), member)
        assert bool(flowing(exchange(1, label), audience)) == may


def test_an_exchange_whose_beginning_was_cut_off_is_not_told() -> None:
    turns = [*exchange(1), *exchange(2)]

    assert [turn.text for turn in flowing(turns[2:], "user:slack:T1/U1")] == [
        turn.text for turn in exchange(2)
    ]


async def test_a_local_only_conversation_is_never_summed_up_elsewhere() -> None:
    backend = model()
    with pytest.raises(NoRouteError):
        await summarizer(backend, placement="cloud").fold(None, [exchange(1)], local_only=True)

    assert backend.requests == []


async def test_a_used_up_budget_pays_for_no_summary() -> None:
    class Spent:
        async def spent(self, payers: Sequence[Payer], day: str) -> Sequence[int]:
            return [100 for _ in payers]

        async def add(self, payers: Sequence[Payer], day: str, tokens: int) -> None:
            raise AssertionError("nothing was asked")

    budget = Budget(BudgetLimits(tokens_per_user_day=100), Spent(), now=lambda: NOW)
    backend = model()
    with pytest.raises(NoRouteError):
        await summarizer(backend, placement="cloud").fold(
            None, [exchange(1)], allowance=budget.allowance(KEY, PERSON)
        )

    assert backend.requests == []


async def test_the_role_small_goes_first_and_a_failing_route_hands_over() -> None:
    refused = Fail(BackendError("away", "refused", retryable=True))
    away = ScriptedBackend("away", lambda request: refused)
    second, planner = model("of the second"), route(model("of the planner"))
    router = Router({"planner": [planner], "small": [route(away), route(second)]})
    folded = await Summarizer(router).fold(None, [exchange(1)])

    assert folded is not None
    assert folded.summary.text == "of the second"
    with pytest.raises(NoRouteError):
        await Summarizer(Router({"planner": [planner], "small": [route(away)]})).fold(
            None, [exchange(1)]
        )


async def test_a_demonstration_model_and_an_empty_answer_give_no_summary() -> None:
    demo = ScriptedBackend(
        "demo", lambda request: Say("x"), capabilities=Capabilities(2000, demonstration=True)
    )

    assert await summarizer(demo).fold(None, [exchange(1)]) is None
    assert await summarizer(model("  ")).fold(None, [exchange(1)]) is None


async def test_endless_notes_are_cut() -> None:
    folded = await summarizer(model("word " * 5000)).fold(None, [exchange(1)])

    assert folded is not None
    assert len(folded.summary.text) <= MAX_CHARS
