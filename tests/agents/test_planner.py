"""The planner over scripted models: steps, retries, limits, and what people are told."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, pairwise

from adapters.models.scripted import DEFAULT_CAPABILITIES, ScriptedBackend
from adapters.models.scripted_replies import Fail, FailMidStream, Garble, Say, Step
from agents.errors import BackendError
from agents.events import CallsReturned, PlanEnded, RouteSwitched, StepPlanned
from agents.planner import BROKEN_OFF, CUT_OFF, NO_MODEL, NO_STEP, TOO_LONG, PlanLimits, Planner
from agents.ports import Capabilities, ModelRequest
from agents.routing import Router
from agents.turns import Image, Text, Turn
from tests.agents.planning import (
    NOW,
    calculate,
    calls,
    ended,
    events_of,
    final,
    planner,
    route,
    shown,
    task,
    user,
)
from tools.contract import Tool, ToolCall
from tools.decorator import tool
from tools.labels import Integrity, Label
from tools.toolbox import Toolbox, built_in_tools

DOWN = BackendError("a", "down", retryable=True)


def model(*replies: object, name: str = "a", **options: object) -> ScriptedBackend:
    return ScriptedBackend(name, replies, **options)  # type: ignore[arg-type]


async def test_a_tool_runs_and_then_the_answer_streams() -> None:
    events = await events_of(planner(model(calculate("17*23"), final("It is 391."))), task())

    kinds = [type(event).__name__ for event in events]
    assert kinds[:2] == ["StepPlanned", "CallsReturned"]
    assert set(kinds[2:-1]) == {"AnswerDelta"}
    assert kinds[-1] == "PlanEnded"
    assert shown(events) == "It is 391."


async def test_listed_calls_run_together_and_keep_their_order() -> None:
    both = calls(("calculate", {"expression": "1+1"}), ("current_time", {"zone": "Asia/Tokyo"}))
    events = await events_of(planner(model(both, final("done"))), task())

    returned = next(event for event in events if isinstance(event, CallsReturned))
    assert [result.name for result in returned.results] == ["calculate", "current_time"]
    assert returned.results[0].text == "2"


async def test_garbage_is_asked_again_once_and_the_answer_is_not_marked_as_cut() -> None:
    backend = model(Garble(), final("fine"))
    end = await ended(planner(backend), task())

    assert (end.state, end.text, end.cut) == ("answered", "fine", False)
    assert "not a valid step" in backend.requests[1].messages[-1].text


async def test_garbage_twice_ends_in_an_honest_sentence_and_shows_no_json() -> None:
    events = await events_of(planner(model(Garble(), Garble())), task())

    assert shown(events) == ""
    end = events[-1]
    assert (end.state, end.text) == ("failed", NO_STEP)  # type: ignore[union-attr]


async def test_prose_twice_becomes_an_answer_marked_as_unplanned() -> None:
    end = await ended(planner(model(Say("Plain words."), Say("Plain words."))), task())

    assert (end.state, end.text, end.notes) == (
        "answered",
        "Plain words.",
        ("answered without a plan",),
    )


async def test_raw_calls_twice_are_never_shown() -> None:
    raw = Say('I will call <tool_call>{"name": "calculate"}</tool_call>')
    events = await events_of(planner(model(raw, raw)), task())

    assert shown(events) == ""


async def test_the_step_limit_forces_an_answer() -> None:
    def policy(request: ModelRequest) -> Step:
        text = str(request.schema)
        return calculate(f"{len(request.messages)}+1") if "calculate" in text else final("enough")

    backend = ScriptedBackend("a", policy)
    end = await ended(planner(backend, limits=PlanLimits(max_steps=3)), task())

    assert (end.text, len(backend.requests)) == ("enough", 3)


async def test_the_same_call_is_not_run_twice_and_leads_to_an_answer() -> None:
    ran: list[str] = []
    backend = model(calls(("note", {"text": "x"})), calls(("note", {"text": "x"})), final("done"))
    end = await ended(planner(backend, toolbox=Toolbox([noting(ran)])), task())

    assert (ran, end.text) == (["x"], "done")
    assert "note" not in str(backend.requests[2].schema)


async def test_the_same_call_twice_in_one_step_runs_once() -> None:
    ran: list[str] = []
    twice = calls(("note", {"text": "x"}), ("note", {"text": "x"}))
    events = await events_of(
        planner(model(twice, final("done")), toolbox=Toolbox([noting(ran)])), task()
    )

    assert ran == ["x"]
    returned = next(event for event in events if isinstance(event, CallsReturned))
    assert [result.call_id for result in returned.results] == ["1.1", "1.2"]


async def test_a_switch_before_anything_was_shown_is_told_once_over_all_steps() -> None:
    first = model(Fail(DOWN))
    second = model(calculate("1+1"), calculate("2+2"), final("ok"), name="b")
    events = await events_of(planner(first, second), task())

    assert sum(isinstance(event, RouteSwitched) for event in events) == 1
    end = events[-1]
    assert isinstance(end, PlanEnded)
    assert (end.instead_of, end.route) == ((("a", "down"),), "b")
    assert len(first.requests) == 1


async def test_a_model_that_breaks_off_after_text_is_not_replaced_and_says_so() -> None:
    text = final("A long answer that breaks").text
    first = model(FailMidStream(text, DOWN, after_chunks=10))
    second = model(final("never"), name="b")
    end = await ended(planner(first, second), task())

    assert (end.state, end.cut, second.requests) == ("failed", True, [])
    assert end.text.endswith(BROKEN_OFF)


async def test_no_route_is_a_failure_with_its_reason() -> None:
    end = await ended(planner(model(Fail(DOWN))), task())

    assert (end.state, end.text) == ("failed", NO_MODEL)
    assert "a: down" in end.reason


async def test_the_time_limit_ends_the_turn() -> None:
    ticks: Iterator[int] = count(0, 60)
    slow = planner(model(final("much too late " * 20)), clock=lambda: next(ticks))
    end = await ended(slow, task())

    assert (end.state, end.reason) == ("failed", "time limit")
    assert end.text.endswith(TOO_LONG)


async def test_an_answer_that_repeats_itself_is_cut_and_marked() -> None:
    end = await ended(planner(model(final("again and " * 500))), task())

    assert end.cut
    assert end.text.endswith(CUT_OFF)
    assert len(end.text) < 3000


async def test_an_answer_that_ran_out_of_tokens_is_marked_as_cut() -> None:
    words = " ".join(f"w{number}" for number in range(900))
    end = await ended(planner(model(final(words)), limits=PlanLimits(max_answer_tokens=20)), task())

    assert end.cut
    assert end.text.endswith(CUT_OFF)


async def test_a_whole_answer_in_broken_json_is_not_marked_as_cut() -> None:
    broken = Say('{"thought":"","step":[{"action":"final","arguments":{"answer":"Whole."}')
    end = await ended(planner(model(broken)), task())

    assert (end.text, end.cut) == ("Whole.", False)


async def test_a_resumed_plan_neither_plans_again_nor_repeats_what_can_not_be_repeated() -> None:
    ran: list[str] = []
    waiting = StepPlanned(1, "", (ToolCall("1.1", "note", {"text": "x"}),), "a")
    backend = model(final("please check"))
    events = await events_of(
        planner(backend, toolbox=Toolbox([noting(ran)])), task(resume=(waiting,))
    )

    assert ran == []
    returned = events[0]
    assert isinstance(returned, CallsReturned)
    assert "may or may not have been done" in returned.results[0].text
    assert len(backend.requests) == 1


async def test_labels_of_results_are_joined_into_the_answer() -> None:
    @tool(effect="read")
    async def fetch(url: str) -> str:
        """Fetch a page."""
        return "page"

    backend = model(calls(("fetch", {"url": "x"})), final("done"))
    question = Turn("user", (Text("?"),), Label(Integrity.USER, frozenset({"user:a/b"})))
    end = await ended(planner(backend, toolbox=Toolbox([fetch])), task(question=question))

    assert end.turns[-1].label == Label(Integrity.UNTRUSTED, frozenset({"user:a/b"}))


async def test_a_local_only_conversation_never_reaches_a_cloud_route() -> None:
    cloud, local = model(final("leak"), name="cloud"), model(Fail(DOWN), name="local")
    router = Router({"planner": [route(cloud, "cloud"), route(local)]})
    end = await ended(Planner(router, Toolbox([])), task(local_only=True, pin="cloud"))

    assert (end.state, cloud.requests) == ("failed", [])


async def test_a_pinned_route_comes_first() -> None:
    first, second = model(final("a")), model(final("b"), name="b")

    assert (await ended(planner(first, second), task(pin="b"))).text == "b"


async def test_a_picture_is_told_in_words_and_never_as_pixels() -> None:
    picture = Image("0" * 64, "image/png", seen="a red square", seen_by="v")
    unseen = Image("1" * 64, "image/png")
    backend = model(final("ok"))
    question = Turn("user", (Text("What?"), picture, unseen), said_at=NOW.timestamp())
    end = await ended(planner(backend), task(question=question))

    asked = backend.requests[0].messages[-1]
    assert "[image 1: a red square]\n[image 2: could not be looked at]" in asked.text
    assert all(message.images == () for message in backend.requests[0].messages)
    assert end.notes == ("no vision model could look at the picture",)


async def test_the_prompt_of_a_turn_starts_with_the_prompt_of_the_turn_before() -> None:
    backend = model(calculate("1+1"), final("2"), final("bye"))
    bot = planner(backend)
    first = task("1+1?")
    history = (first.question, *(await ended(bot, first)).turns)
    await ended(bot, task("and now?", history=history))

    before, after = backend.requests[1].messages, backend.requests[2].messages
    assert after[: len(before)] == before


async def test_a_huge_message_is_cut_in_the_middle_and_told() -> None:
    backend = model(final("ok"), final("ok"))
    bot = planner(backend)
    first = task("begin " + "word " * 20_000 + "end")
    end = await ended(bot, first)
    await ended(bot, task("next", history=(first.question, *end.turns)))

    text = backend.requests[0].messages[-1].text
    assert "begin" in text
    assert text.endswith("end")
    assert "characters left out" in text
    assert "middle was left out" in end.notes[0]
    assert backend.requests[0].messages[-1] in backend.requests[1].messages


async def test_cut_points_stay_over_forty_turns() -> None:
    def policy(request: ModelRequest) -> Step:
        return final("An answer of some words to the question " * 6)

    small = Capabilities(context_tokens=4096, constrained=True)
    backend = ScriptedBackend("a", policy, capabilities=small)
    bot, history = planner(backend), list[Turn]()
    for number in range(40):
        question = user(f"Question {number} " + "with words " * (number * 7 % 50))
        end = await ended(bot, task(question=question, history=history))
        history += [question, *end.turns]

    head = next(n for n, m in enumerate(backend.requests[0].messages) if "Question 0" in m.text)
    oldest = [request.messages[head].text for request in backend.requests]
    changes = sum(one != other for one, other in pairwise(oldest))
    assert 1 <= changes <= 8


async def test_results_larger_than_the_window_still_end_in_an_answer() -> None:
    @tool(effect="read")
    async def read(page: int) -> str:
        """Read a page."""
        return f"page {page} " + "word " * 6000

    small = Capabilities(context_tokens=4096, constrained=True)
    steps = [calls(("read", {"page": page})) for page in range(6)]
    backend = model(*steps, final("ok"), capabilities=small)
    end = await ended(planner(backend, toolbox=Toolbox([read])), task())

    assert end.text == "ok"


async def test_a_fixed_prompt_with_ten_tools_stays_under_a_thousand_tokens() -> None:
    backend = model(final("ok"), capabilities=DEFAULT_CAPABILITIES)
    await ended(planner(backend, toolbox=Toolbox(ten_tools())), task())

    head = backend.requests[0].messages[:-1]
    assert sum(len(message.text) / 3.5 + 5 for message in head) <= 1000


def noting(ran: list[str]) -> Tool:
    @tool(effect="write")
    async def note(text: str) -> str:
        """Write a note."""
        ran.append(text)
        return "noted"

    return note


def ten_tools() -> list[Tool]:
    made = [tool for tool in built_in_tools() if not (tool.needs_images or tool.needs_documents)]
    for number in range(10 - len(made)):

        async def act(title: str, count: int) -> str:
            """Open a ticket in the tracker and give its number back."""
            return title * count

        act.__name__ = f"open_ticket_{number}"
        made.append(tool(effect="write")(act))
    return made
