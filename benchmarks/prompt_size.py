"""What every prompt begins with, by a real tokenizer: `python -m benchmarks.prompt_size`."""

from __future__ import annotations

import asyncio

from adapters.models.embedded import load_embedded
from adapters.models.openai_wire import estimate_tokens
from agents.ports import ModelBackend
from agents.prompts.planner import prompt_head
from agents.prompts.templates import render
from benchmarks.report import Table
from tests.agents.test_planner import ten_tools
from tools.contract import Tool
from tools.toolbox import built_in_tools


async def measure() -> list[Table]:
    """The table, by the demonstration model's tokenizer; no model of it answers anything."""
    backend = await load_embedded()
    table = Table(
        "What every prompt begins with: task, tools and examples, in tokens",
        ("tools", "target", "here (SmolLM2's tokenizer)", "estimated at start"),
    )
    try:
        table.add("10", "at most 1,000", *await _sizes(backend, ten_tools()))
        built_in = built_in_tools()
        table.add(f"the {len(built_in)} built-in ones", "-", *await _sizes(backend, built_in))
    finally:
        await backend.aclose()
    return [table]


async def _sizes(backend: ModelBackend, tools: tuple[Tool, ...] | list[Tool]) -> tuple[str, str]:
    head = prompt_head(tools)
    counted = await backend.count_tokens(render("chatml", head))
    estimated = sum(estimate_tokens(message.text) for message in head)
    return f"{counted:,}", f"{estimated:,}"


if __name__ == "__main__":
    for each in asyncio.run(measure()):
        print(each.markdown())
