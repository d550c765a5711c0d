from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain", reason="needs the extra langchain")

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessageChunk, ToolMessage
from langgraph.types import Command

from adapters.langchain import FirstlineChatModel, RedisSaver, approvals, tool_to_langchain
from adapters.models.scripted import ScriptedBackend, Step, demo_policy
from agents.events import CallsReturned
from agents.ports import ModelBackend
from bot.settings import load_settings
from tests.agents.planning import planner, task
from tests.engine import embedded_backend, needs_engine
from tools.builtin.arithmetic import calculate
from tools.decorator import tool
from tools.toolbox import Toolbox, load_tools

PAGE = (Path(__file__).parents[3] / "docs" / "langchain.md").read_text(encoding="utf-8")
ASK = {"messages": [("user", "What is 17*23?")]}


def block(containing: str, language: str = "python") -> str:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    [one] = [each for each in found if containing in each]
    return str(one)


def names_of(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "docs"}
    exec(compile(source, "docs/langchain.md", "exec", dont_inherit=True), names)  # noqa: S102
    return names


def demo() -> ScriptedBackend:
    return ScriptedBackend("scripted", demo_policy)


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


@pytest.fixture
async def saver(redis_url: str, prefix: str) -> AsyncIterator[RedisSaver]:
    saver = RedisSaver(redis_url, prefix=prefix)
    yield saver
    await saver.aclose()


def agent_of(backend: ModelBackend, **options: Any) -> Any:
    return create_agent(
        FirstlineChatModel(backend=backend), [tool_to_langchain(calculate)], **options
    )


async def test_the_agent_of_the_docs_answers_with_our_model_and_our_tool(
    redis_url: str, prefix: str
) -> None:
    own_keys = f'RedisSaver(redis_url, prefix="{prefix}"'
    ask = names_of(block("create_agent").replace("RedisSaver(redis_url", own_keys))["ask"]

    assert "391" in await ask(demo(), redis_url, "What is 17*23?")
    second = await ask(demo(), redis_url, "hello again")

    assert "Before that you said: “What is 17*23?”" in second  # out of Redis, by a new agent


async def test_the_tool_of_the_docs_runs_in_a_plan_of_ours(tmp_path: Path) -> None:
    file = tmp_path / "my_tools.py"
    file.write_text(block("tool_from_langchain"), encoding="utf-8")
    call = {"action": "order_status", "arguments": {"order": "A-1", "details": None}}
    final = {"action": "final", "arguments": {"answer": "On its way."}}
    steps = [Step({"thought": "", "step": [each]}) for each in (call, final)]
    plan = planner(ScriptedBackend("scripted", steps), toolbox=Toolbox(load_tools(file)))

    async with aclosing(plan.run(task("Where is A-1?"))) as running:
        events = [event async for event in running]

    [returned] = [event for event in events if isinstance(event, CallsReturned)]
    assert returned.results[0].text == "A-1 left the warehouse this morning"


def test_the_route_and_the_approvals_of_the_docs_are_valid(tmp_path: Path) -> None:
    config = tmp_path / "firstline.toml"
    config.write_text(block("my_models:planner", "toml"), encoding="utf-8")

    route = load_settings(config, environ={}).routes["mine"]

    assert (route.backend, route.placement) == ("langchain", "cloud")
    factory = block("def planner").replace("max_retries=0", 'max_retries=0, api_key="none"')
    assert names_of(factory)["planner"]().model_name == "gpt-4.1-mini"
    assert len(names_of(block("approvals"))["middleware"]) == 1


async def test_an_agents_answer_streams_token_by_token() -> None:
    texts, tools = [], []
    async for message, _ in agent_of(demo()).astream(ASK, stream_mode="messages"):
        if isinstance(message, AIMessageChunk) and message.text:
            texts.append(message.text)
        elif isinstance(message, ToolMessage):
            tools.append(message.text)

    assert ["391" in text for text in tools] == [True]
    assert len(texts) > 2
    assert "391" in "".join(texts)
    assert "{" not in "".join(texts)


async def test_a_call_that_needs_approval_waits_in_redis_for_another_process(
    redis_url: str, prefix: str
) -> None:
    done = []

    @tool(effect="destructive")
    async def close_ticket(number: int) -> str:
        """Close a ticket."""
        done.append(number)
        return f"ticket {number} is closed"

    call = {"action": "close_ticket", "arguments": {"number": 7}}
    final = {"action": "final", "arguments": {"answer": "Closed."}}

    async def run(step: Any, state: Any) -> Any:
        """As a process of its own would: nothing but Redis is shared."""
        saver = RedisSaver(redis_url, prefix=prefix)
        backend = ScriptedBackend("scripted", [Step({"thought": "", "step": [step]})])
        agent = create_agent(
            FirstlineChatModel(backend=backend),
            [tool_to_langchain(close_ticket)],
            middleware=[HumanInTheLoopMiddleware(interrupt_on=dict(approvals([close_ticket])))],
            checkpointer=saver,
        )
        try:
            return await agent.ainvoke(state, thread("t"))
        finally:
            await saver.aclose()

    waiting = await run(call, {"messages": [("user", "Close ticket 7.")]})
    assert waiting["__interrupt__"][0].value["action_requests"][0]["args"] == {"number": 7}
    assert done == []

    ended = await run(final, Command(resume={"decisions": [{"type": "approve"}]}))

    assert done == [7]
    assert [each.text for each in ended["messages"][-2:]] == ["ticket 7 is closed", "Closed."]


async def test_an_agent_goes_back_to_an_earlier_checkpoint(saver: RedisSaver) -> None:
    agent = agent_of(demo(), checkpointer=saver)
    await agent.ainvoke(ASK, thread("t"))

    states = [state async for state in agent.aget_state_history(thread("t"))]
    planned = next(state for state in states if state.next == ("tools",))
    again = await agent.ainvoke(None, planned.config)

    assert len(states) >= 4
    assert "391" in again["messages"][-1].text
    assert len(again["messages"]) == len(states[0].values["messages"])


class TestWithARealModel:
    pytestmark = needs_engine

    async def test_the_embedded_model_runs_an_agent_to_an_answer(self, saver: RedisSaver) -> None:
        agent = agent_of(embedded_backend(), checkpointer=saver)

        state = await agent.ainvoke(ASK, {**thread("t"), "recursion_limit": 8})

        results = [each.text for each in state["messages"] if isinstance(each, ToolMessage)]
        assert any("391" in text for text in results)
        assert state["messages"][-1].text
