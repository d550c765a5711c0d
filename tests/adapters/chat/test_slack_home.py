from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.chat.commands import COMMANDS
from adapters.chat.slack_home import SECTION_CHARS, home_view
from adapters.chat.slack_prompts import DEFAULT_PROMPTS, MOST_PROMPTS
from tests.adapters.chat.slack_bot import Bench, running


def shown(view: dict[str, object]) -> str:
    blocks = view["blocks"]
    assert isinstance(blocks, list)
    return "\n".join(each["text"]["text"] for each in blocks)


@asynccontextmanager
async def agent(*, is_agent: bool) -> AsyncIterator[Bench]:
    async with running(agent=is_agent) as bench:
        yield bench


async def test_who_opens_the_home_tab_sees_every_command() -> None:
    async with running() as bench:
        bench.slack.views.open_home("U1", "D1")
        await bench.slack.wait_for(lambda: bench.slack.views.homes)
        text = shown(bench.slack.views.homes["U1"])

    assert all(f"/{each.name}" in text for each in COMMANDS)
    assert "`/ask QUESTION`" in text


async def test_the_home_tab_is_published_once_for_each_person() -> None:
    async with running() as bench:
        bench.slack.add_user("U2")
        for user in ("U1", "U1", "U2", "U1"):
            bench.slack.views.open_home(user, "D1")
            await bench.quiet()
        await bench.slack.wait_for(lambda: len(bench.slack.views.homes) == 2)

        assert sorted(bench.slack.views.published) == ["U1", "U2"]


async def test_another_process_sees_that_the_same_version_is_there_already() -> None:
    async with running() as bench:
        bench.slack.views.homes["U1"] = home_view()
        bench.slack.views.open_home("U1", "D1")
        bench.slack.views.homes["U1"] = home_view() | {"private_metadata": "older"}
        await bench.quiet()
        assert bench.slack.views.published == []


async def test_an_older_version_is_replaced() -> None:
    async with running() as bench:
        bench.slack.views.homes["U1"] = home_view() | {"private_metadata": "older"}
        bench.slack.views.open_home("U1", "D1")
        await bench.slack.wait_for(lambda: bench.slack.views.published)

        assert bench.slack.views.homes["U1"]["private_metadata"] != "older"


async def test_a_home_tab_that_is_switched_off_is_tried_again_when_opened_again() -> None:
    async with running() as bench:
        bench.slack.views.has_home = False
        bench.slack.views.open_home("U1", "D1")
        await bench.slack.wait_for(lambda: bench.slack.web.refused["views.publish:not_enabled"])
        bench.slack.views.has_home = True
        await bench.slack.wait_for(lambda: reopened(bench))


def reopened(bench: Bench) -> list[str]:
    bench.slack.views.open_home("U1", "D1")
    return bench.slack.views.published


def test_no_section_of_the_home_tab_is_too_long() -> None:
    sizes = [len(each["text"]["text"]) for each in home_view()["blocks"]]

    assert max(sizes) < SECTION_CHARS


async def test_an_agent_suggests_prompts_without_naming_a_thread() -> None:
    async with agent(is_agent=True) as bench:
        bench.slack.views.open_home("U1", "D1", "messages")
        await bench.slack.wait_for(lambda: bench.slack.views.prompts)
        prompts = bench.slack.views.prompts["D1", None]

    assert [each["title"] for each in prompts] == [each.title for each in DEFAULT_PROMPTS]
    assert len(prompts) <= MOST_PROMPTS


async def test_an_older_assistant_suggests_them_in_its_thread() -> None:
    async with agent(is_agent=False) as bench:
        bench.slack.views.open_assistant("U1", "D1", "1700000000.000005")
        bench.slack.views.open_home("U1", "D1", "messages")
        await bench.slack.wait_for(lambda: bench.slack.views.prompts)
        await bench.quiet()

        assert list(bench.slack.views.prompts) == [("D1", "1700000000.000005")]


async def test_an_app_without_the_scope_asks_for_prompts_once() -> None:
    async with agent(is_agent=True) as bench:
        bench.slack.scopes -= {"assistant:write"}
        method = "assistant.threads.setSuggestedPrompts"
        for _ in range(3):
            bench.slack.views.open_home("U1", "D1", "messages")
            await bench.quiet()
            await bench.slack.wait_for(lambda: bench.slack.web.count(method))

        assert bench.slack.web.count(method) == 1


@pytest.mark.malformed
@pytest.mark.parametrize(
    "event", ["app_context_changed", "assistant_thread_context_changed", "app_home_opened"]
)
async def test_what_says_nothing_to_the_bot_is_acknowledged_quietly(event: str) -> None:
    async with running() as bench:
        sent = bench.slack.deliver({"type": event, "user": "U1"})
        await bench.quiet()

        assert sent.tries == 1
        assert bench.inbox.seen == []
