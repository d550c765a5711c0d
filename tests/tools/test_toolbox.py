"""The toolbox: who is offered what, and that one call's trouble stays one result."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.agents.planning import PERSON, PLACE, context_for
from tools.contract import Tool, ToolCall, ToolError, ToolResult
from tools.decorator import tool
from tools.identity import Place, Principal
from tools.toolbox import MAX_RESULT_BYTES, Toolbox, ToolboxError, built_in_tools, load_tools


@tool(effect="read", timeout_s=0.05)
async def work(how: str) -> str:
    """Work."""
    match how:
        case "slow":
            await asyncio.sleep(5)
        case "crash":
            raise RuntimeError("password hunter2")
        case "exit":
            raise SystemExit(3)
        case "refuse":
            raise ToolError("not today")
        case "cancel":
            raise asyncio.CancelledError
        case "timeout":
            raise TimeoutError
        case "huge":
            return "ü" * MAX_RESULT_BYTES
    return how


async def run(*calls: tuple[str, object]) -> tuple[ToolResult, ...]:
    planned = [ToolCall(str(n), name, {"how": how}) for n, (name, how) in enumerate(calls)]
    return await Toolbox([work]).run_calls(planned, context_for)


async def test_every_trouble_becomes_one_result_in_the_order_of_the_calls() -> None:
    hows = ["slow", "crash", "exit", "refuse", "cancel", "timeout", "fine"]
    results = await run(*(("work", how) for how in hows), ("gone", "x"), ("work", 5))

    assert [result.text for result in results] == [
        "Error: no answer in 0.05 s",
        "Error: the tool failed (RuntimeError)",
        "Error: the tool failed (SystemExit)",
        "Error: not today",
        "Error: the tool was cancelled",
        "Error: the tool failed (TimeoutError)",
        "fine",
        "Error: there is no tool 'gone' here",
        "Error: how: must satisfy type string",
    ]
    assert [result.is_error for result in results] == [True] * 6 + [False, True, True]


async def test_a_huge_result_is_cut_at_32_kib_and_says_so() -> None:
    (result,) = await run(("work", "huge"))

    assert len(result.text.encode()) < MAX_RESULT_BYTES + 100
    assert "[cut: 65,536 bytes" in result.text


def test_a_name_twice_or_a_reserved_name_refuses() -> None:
    with pytest.raises(ToolboxError, match="two tools are named 'work'"):
        Toolbox([work, work])

    @tool(effect="read")
    async def final(text: str) -> str:
        """End."""
        return text

    with pytest.raises(ToolboxError, match="can't be named 'final'"):
        Toolbox([final])


def test_tools_are_offered_by_grant_and_always_in_one_order() -> None:
    toolbox = Toolbox(built_in_tools())
    names = [tool.name for tool in toolbox.offered(PERSON, PLACE, has_images=False)]

    assert names == ["calculate", "current_time", "search_conversation"]
    assert names == [
        each.name
        for each in Toolbox(built_in_tools()[::-1]).offered(PERSON, PLACE, has_images=False)
    ]
    assert toolbox.offered(Principal("t", "u", "guest"), PLACE, has_images=True) == ()
    assert toolbox.offered(PERSON, Place("t", "external", "c"), has_images=True) == ()


async def test_a_tool_that_is_not_granted_here_does_not_run() -> None:
    @tool(effect="read", places=["private"])
    async def secret(text: str) -> str:
        """Tell."""
        return text

    call = ToolCall("1", "secret", {"text": "x"})
    (result,) = await Toolbox([secret]).run_calls([call], context_for)
    assert result.text == "Error: there is no tool 'secret' here"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no file"),
        ("x = (", "failed to load: SyntaxError"),
        ("raise SystemExit", "failed to load: SystemExit"),
        ("x = 1", "defines no tool"),
    ],
)
def test_a_file_without_good_tools_says_why(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ToolboxError, match=reason):
        load_tools(path)


def test_a_file_of_tools_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from tools.decorator import tool\n@tool(effect='read')\n"
        "def hi(name: str) -> str:\n    'Greet.'\n    return name\n"
    )
    (loaded,) = load_tools(path)
    assert isinstance(loaded, Tool)
    assert loaded.name == "hi"
