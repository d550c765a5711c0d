from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated, Any

import pytest

pytest.importorskip("langchain_core", reason="needs the extra langchain")

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool, ToolException, tool
from langsmith.utils import tracing_is_enabled

from adapters.langchain import approvals, standalone_context, tool_from_langchain, tool_to_langchain
from adapters.models.scripted import ScriptedBackend, Step
from agents.events import CallsReturned, PlanEnded
from tests.agents.planning import context_for, planner, task
from tools.builtin.arithmetic import calculate
from tools.contract import Tool, ToolCall, ToolResult
from tools.decorator import tool as our_tool
from tools.labels import Integrity
from tools.schema import SchemaError
from tools.toolbox import Toolbox


@tool
def lookup(order: str, full: bool = False, tags: list[str] | None = None) -> str:
    """Look up an order
    by its number."""
    return f"{order}, {full}, {tags}"


async def ran(tool: Tool, **arguments: Any) -> ToolResult:
    call = ToolCall("1.1", tool.name, arguments)
    [result] = await Toolbox([tool]).run_calls([call], context_for)
    return result


def to_langchain(tool: Tool) -> BaseTool:
    return tool_to_langchain(tool, context_for)


async def test_a_langchain_tool_runs_in_a_plan_of_ours() -> None:
    toolbox = Toolbox([tool_from_langchain(lookup, effect="read")])
    arguments = {"order": "A-17", "full": None, "tags": ["new"]}
    step = Step({"thought": "", "step": [{"action": "lookup", "arguments": arguments}]})
    done = Step(
        {"thought": "", "step": [{"action": "final", "arguments": {"answer": "Found it."}}]}
    )
    backend = ScriptedBackend("scripted", [step, done])

    async with aclosing(planner(backend, toolbox=toolbox).run(task("Where is A-17?"))) as plan:
        events = [event async for event in plan]

    [returned] = [each for each in events if isinstance(each, CallsReturned)]
    assert [each.text for each in returned.results] == ["A-17, False, ['new']"]
    assert returned.results[0].label.integrity is Integrity.UNTRUSTED
    assert isinstance(events[-1], PlanEnded)
    assert events[-1].text == "Found it."


def test_a_tool_of_undeclared_effect_counts_as_destructive() -> None:
    ours = tool_from_langchain(lookup)

    assert (ours.effect, ours.idempotency) == ("destructive", "none")
    assert ours.description == "Look up an order by its number."
    assert approvals([ours, calculate]) == {"lookup": True, "calculate": False}


async def test_arguments_are_checked_before_the_tool_sees_them() -> None:
    result = await ran(tool_from_langchain(lookup), order=17, full=None, tags=None)

    assert result.is_error
    assert "order" in result.text


async def test_an_async_tool_and_a_failing_one_end_as_results() -> None:
    async def fetch(city: str) -> str:
        """Fetch."""
        await asyncio.sleep(0)
        if city == "Rome":
            raise ToolException("no such city")
        if city == "Oslo":
            raise RuntimeError("secret-key-123")
        return city

    named = StructuredTool.from_function(coroutine=fetch, name="fetch")
    told = StructuredTool.from_function(coroutine=fetch, name="fetch", handle_tool_error=True)

    assert (await ran(tool_from_langchain(named), city="Bern")).text == "Bern"
    for each in (named, told):
        result = await ran(tool_from_langchain(each), city="Rome")
        assert (result.text, result.is_error) == ("Error: no such city", True)
    broken = await ran(tool_from_langchain(named), city="Oslo")
    assert (broken.text, broken.is_error) == ("Error: the tool failed (RuntimeError)", True)


async def test_a_tool_that_hangs_is_given_up_after_its_time() -> None:
    async def hang(city: str) -> str:
        """Hang."""
        await asyncio.sleep(30)
        return city

    hanging = StructuredTool.from_function(coroutine=hang, name="hang")

    result = await ran(tool_from_langchain(hanging, timeout_s=0.02), city="Bern")

    assert "no answer in 0.02 s" in result.text


async def test_a_tools_arguments_go_to_no_tracing_service() -> None:
    @tool
    def traced(question: str) -> str:
        """Tell whether calls are traced."""
        return str(tracing_is_enabled())

    assert (await ran(tool_from_langchain(traced), question="?")).text == "False"


def test_what_a_plain_call_cannot_give_is_refused_with_the_reason() -> None:
    @tool
    def secret(question: str, user: Annotated[str, InjectedToolArg]) -> str:
        """Answer."""
        return user

    @tool
    def anything(facts: dict[str, str]) -> str:
        """Remember."""
        return ""

    with pytest.raises(SchemaError, match="user is injected by LangGraph"):
        tool_from_langchain(secret)
    with pytest.raises(SchemaError, match=r"anything\.facts"):
        tool_from_langchain(anything)


async def test_our_tool_is_a_langchain_tool_under_our_rules() -> None:
    sums = to_langchain(calculate)
    call = {"name": "calculate", "args": {"expression": "17*23"}, "id": "c1", "type": "tool_call"}

    message = await sums.ainvoke(call)

    assert isinstance(message, ToolMessage)
    assert "391" in message.text
    refused = await sums.ainvoke({**call, "args": {"expression": "1/0"}})
    assert refused.status == "error"
    assert refused.text.startswith("Error: ")
    wrong = await sums.ainvoke({**call, "args": {"sum": "1"}})
    assert wrong.status == "error"


async def test_a_grant_holds_in_langchain_too() -> None:
    @our_tool(effect="read", principals=["operator"])
    async def restart(service: str) -> str:
        """Restart a service."""
        return service

    assert "no tool 'restart' here" in await tool_to_langchain(restart).ainvoke({"service": "a"})


async def test_the_blocking_call_of_our_tool_says_that_it_is_async_only() -> None:
    with pytest.raises(NotImplementedError):
        to_langchain(calculate).invoke({"expression": "1+1"})


async def test_a_context_of_no_chat_has_no_memory_and_no_images() -> None:
    context = standalone_context(user_id="u1")(ToolCall("c", "t", {}))

    assert (context.principal.kind, context.place.kind, context.call_key) == ("member", "dm", "c")
    assert list(await context.search("x", 3)) == []
    assert context.now().tzinfo is not None
