"""Switching models on the running bot: by command, by pin, and by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.models.scripted import Fail, Reply, Say, Stall, Step
from adapters.models.scripted_server import HttpPolicy, ScriptedServer
from agents.errors import BackendError
from agents.ports import ModelRequest
from bot.testing.discord import DiscordTwin
from bot.testing.slack import SlackTwin
from tests.end_to_end.bot_process import bot_process, free_port
from tests.end_to_end.on_slack import Thread, new_thread, settings_for, settings_of
from tests.end_to_end.test_platforms import OnDiscord


def signed(name: str) -> HttpPolicy:
    """A model that says its name, and how many of a person's messages it was shown."""

    def answer(request: ModelRequest) -> Reply:
        told = "\n".join(each.text for each in request.messages if each.role == "user")
        text = f"{name} answers, told {told.count('Tell me')} times."
        if request.schema is None:
            return Say(text)
        step = {"action": "final", "arguments": {"answer": text}}
        return Step({"thought": "I know.", "step": step})

    return answer


@dataclass(frozen=True, slots=True)
class Serving:
    slack: SlackTwin

    async def thread(self) -> Thread:
        return await new_thread(self.slack)

    async def asked(self, thread: Thread, who: str) -> str:
        """Ask once more in the thread, and expect `who` to answer."""
        number = len(thread.replies()) + 1
        await thread.say("Tell me.")
        reply = await thread.reply(number, " times.")
        assert reply.startswith(f"{who} answers"), reply
        return reply

    async def typed(self, thread: Thread, command: str, ending: str) -> None:
        number = len(thread.replies()) + 1
        await thread.say(command)
        await thread.reply(number, ending)


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    async with (
        ScriptedServer(signed("Big")) as big,
        ScriptedServer(signed("Small")) as small,
        SlackTwin() as slack,
    ):
        slack.add_user("U1")
        slack.add_channel("C1")
        tokens = {"SLACK_BOT_TOKEN": slack.bot_token, "SLACK_APP_TOKEN": slack.app_token}
        settings = settings_of(slack, ("big", big), ("small", small))
        async with bot_process(tmp_path, settings, tokens):
            await slack.socket.connected(20)
            yield Serving(slack)


async def test_a_typed_command_switches_its_thread_only_and_reset_forgets(
    serving: Serving,
) -> None:
    here, there = await serving.thread(), await serving.thread()
    await serving.asked(here, "Big")
    await serving.typed(here, "!model", "**big**, small")
    await serving.typed(here, "!model small", "now uses")
    assert "told 2 times" in await serving.asked(here, "Small")
    await serving.asked(there, "Big")
    await serving.typed(here, "!model nobody", "no such model")
    await serving.typed(here, "!model default", "configured order")
    await serving.asked(here, "Big")
    await serving.typed(here, "!reset", "Forgotten")
    assert "told 1 times" in await serving.asked(here, "Big")


async def test_a_slash_command_switches_its_channel_and_all_its_threads(
    serving: Serving,
) -> None:
    slack, thread = serving.slack, await serving.thread()
    await serving.asked(thread, "Big")

    shown = await slack.command("U1", "C1", "/model")
    await slack.wait_for(lambda: shown.answers)
    assert "big" in shown.answers[0]
    assert "small" in shown.answers[0]
    switched = await slack.command("U1", "C1", "/model", "small")
    await slack.wait_for(lambda: switched.answers)
    assert "This channel now uses" in switched.answers[0]

    await serving.asked(thread, "Small")
    await serving.asked(await serving.thread(), "Small")
    await serving.typed(thread, "!model big", "now uses")
    await serving.asked(thread, "Big")
    back = await slack.command("U1", "C1", "/model", "default")
    await slack.wait_for(lambda: back.answers)
    await serving.asked(await serving.thread(), "Big")


def failing(status: int) -> HttpPolicy:
    error = BackendError("scripted", "not now", retryable=True)
    return lambda request: Fail(error, status=status)


FAULTS = {"refused": None, "gone": 404, "limited": 429, "down": 503, "stalled": 0}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_next_route_answers_and_the_footer_says_so(fault: str, tmp_path: Path) -> None:
    status = FAULTS[fault]
    async with AsyncExitStack() as stack:
        second = await stack.enter_async_context(ScriptedServer(signed("Second")))
        first = f"http://127.0.0.1:{free_port()}/v1"
        if status is not None:
            policy = failing(status) if status else (lambda request: Stall())
            first = await stack.enter_async_context(ScriptedServer(policy))
        slack = await stack.enter_async_context(SlackTwin())
        slack.add_user("U1")
        slack.add_channel("C1")
        tokens = {"SLACK_BOT_TOKEN": slack.bot_token, "SLACK_APP_TOKEN": slack.app_token}
        more = "[planner]\nfirst_token_timeout_s = 1"
        settings = settings_of(slack, ("one", first), ("two", second), more=more)
        await stack.enter_async_context(bot_process(tmp_path, settings, tokens))
        await slack.socket.connected(20)
        thread = await new_thread(slack)
        await thread.say("Tell me.")

        reply = await thread.reply(1, "two")  # in the footer
        assert reply.startswith("Second answers"), reply


async def test_a_discord_slash_command_and_a_typed_one_switch(tmp_path: Path) -> None:
    async with (
        ScriptedServer(signed("Big")) as big,
        ScriptedServer(signed("Small")) as small,
        DiscordTwin() as discord,
    ):
        platform = OnDiscord(discord)
        routes = (("big", big), ("small", small))
        settings = settings_for(*routes, platform=platform.settings)
        async with bot_process(tmp_path, settings, platform.environ):
            await platform.wait_connected()
            await platform.say("Tell me.")
            assert (await platform.wait_for_reply(1, "times.")).startswith("Big")
            await platform.say("!model small")
            await platform.wait_for_reply(2, "now uses")
            await platform.say("Tell me.")
            assert (await platform.wait_for_reply(3, "times.")).startswith("Small")
            await discord.wait_for(lambda: discord.world.commands)
            asked = await discord.command(discord.alice, discord.general, "model")
            answer = await discord.wait_for(lambda: discord.answer_to(asked))
            await discord.wait_for(lambda: "big" in answer.content)
