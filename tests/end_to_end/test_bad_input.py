"""Bad input and bad parts: one clear sentence each, nothing else breaks, nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from adapters.models.scripted import Cut, Garble, demo_policy
from adapters.models.scripted_server import HttpReply, Raw, ScriptedServer
from agents.ports import ModelRequest
from bot.testing.discord import DiscordTwin
from bot.testing.slack import SlackTwin
from tests.end_to_end.bot_process import BotProcess, bot_process
from tests.end_to_end.on_slack import new_channel, new_thread, settings_for, settings_of
from tests.end_to_end.test_platforms import OnDiscord, slowly
from tests.pictures import bomb

SECRET_WORDS = "zebrafish-lagoon"


def troubled(request: ModelRequest) -> HttpReply:
    """The demo script, with the faults that the question asks for."""
    told = asked(request)
    if "please garble" in told:
        return Garble("%%%{{{ not json")
    if "please die" in told:
        return Cut("The beginning of an answer that ")
    if "please answer html" in told:
        return Raw(b"<html>502 Bad Gateway</html>", content_type="text/html")
    return slowly(request) if "slowly" in told else demo_policy(request)


def asked(request: ModelRequest) -> str:
    """The newest words of the person, whatever the planner said after them."""
    said = [each.text for each in request.messages if each.role == "user"]
    return next(each for each in reversed(said) if "not a valid step" not in each)


@dataclass(frozen=True, slots=True)
class Serving:
    slack: SlackTwin
    bot: BotProcess


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    """A bot on Slack whose model has the faults of `troubled`."""
    async with ScriptedServer(troubled) as url, SlackTwin() as slack:
        slack.add_user("U1")
        slack.add_channel("C1")
        tokens = {"SLACK_BOT_TOKEN": slack.bot_token, "SLACK_APP_TOKEN": slack.app_token}
        slack.socket.resend_after_s = (0.0, 1.0, 2.0, 2.0)
        async with bot_process(tmp_path, settings_of(slack, ("moe", url)), tokens) as bot:
            await slack.socket.connected(20)
            yield Serving(slack, bot)
            logged = bot.log.read_text()
            assert SECRET_WORDS not in logged
            assert not any(token in logged for token in tokens.values())


FILES = {
    "text.png": (b"this is text, not a picture", "but holds text"),
    "nothing.png": (b"", "0 bytes"),
    "huge.png": (b"\x89PNG\r\n\x1a\n" + bytes(60_000_000), "60 MB"),
    "bomb.png": (bomb(30_000, 30_000), "30000 × 30000"),
}


async def test_every_bad_message_gets_one_sentence_and_the_next_good_one_an_answer(
    serving: Serving,
) -> None:
    async def file(name: str) -> None:
        content, told = FILES[name]
        thread = await new_channel(serving.slack)
        await thread.say("", files=((name, content),))
        assert "Traceback" not in await thread.reply(1, told)
        await thread.answers(2)

    async def words(text: str, told: str) -> None:
        thread = await new_channel(serving.slack)
        await thread.say(f"{text} {SECRET_WORDS}" if text.startswith("please") else text)
        reply = await thread.reply(1, told)
        assert text.startswith(("!", "W")) or len(reply) < 400, "one sentence"
        await thread.answers(2)

    async with asyncio.TaskGroup() as group:
        for name in FILES:
            group.create_task(file(name), name=name)
        group.create_task(words("", "empty"), name="empty")
        group.create_task(words("!nonsense", "I don't know that command"), name="unknown")
        group.create_task(words("W" * 100_000, "too long for the model"), name="long")
        for fault in ("please garble", "please die", "please answer html"):
            group.create_task(words(fault, "(turn "), name=fault)


async def test_messages_to_a_busy_conversation_are_joined(serving: Serving) -> None:
    thread = await new_thread(serving.slack)
    await thread.say("What is 2*3? Take it slowly.")
    await thread.reply(1, "")
    await thread.say("And I have a dog.")
    await thread.say("It is called Rex.")

    joined = await thread.reply(2, "Rex")

    assert "I have a dog" in joined
    assert len(thread.replies()) == 2


async def test_a_deleted_placeholder_does_not_cost_the_answer(serving: Serving) -> None:
    thread = await new_thread(serving.slack)
    await thread.say("What is 2*3? Take it slowly.")
    await thread.reply(1, "")
    placeholder = serving.slack.posted("C1", thread.root)[-1]
    serving.slack.remove(placeholder)

    assert "6" in await thread.reply(1, "found: 6.")
    await thread.answers(2)


async def test_nothing_is_lost_while_redis_is_away(serving: Serving) -> None:
    during = await new_thread(serving.slack)
    await during.say("What is 2*3? Take it slowly.")
    await during.reply(1, "")
    pid = int((serving.bot.folder / "data" / "redis" / "redis.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        meanwhile = await new_thread(serving.slack)
        await meanwhile.say("What is 4*5?")
        await asyncio.sleep(6)  # longer than a store call may take
    finally:
        os.kill(pid, signal.SIGCONT)

    assert "20" in await meanwhile.reply(1, "found: 20")
    assert "6" in await during.reply(1, "found: 6.")
    await during.answers(2)
    assert (len(meanwhile.replies()), len(during.replies())) == (1, 2)


async def test_a_full_line_is_told_once_and_moves_on(tmp_path: Path) -> None:
    async with ScriptedServer(slowly) as url, SlackTwin() as slack:
        slack.add_user("U1")
        slack.add_channel("C1")
        tokens = {"SLACK_BOT_TOKEN": slack.bot_token, "SLACK_APP_TOKEN": slack.app_token}
        settings = settings_of(slack, ("moe", url), more="[limits]\nmax_waiting = 2")
        async with bot_process(tmp_path, settings, tokens):
            await slack.socket.connected(20)
            thread = await new_thread(slack)
            await thread.say("What is 2*3?")
            await thread.reply(1, "")
            for number in range(4):
                await thread.say(f"More {number}")
            await slack.wait_for(lambda: any("still busy" in each for each in thread.replies()))
            await slack.wait_for(lambda: any("More 1" in each for each in thread.replies()), 20)
            assert sum("still busy" in each for each in thread.replies()) <= 3
            await thread.answers(len(thread.replies()) + 1)


async def test_a_wrong_token_is_one_line_for_the_operator_and_the_rest_works(
    tmp_path: Path,
) -> None:
    async with ScriptedServer() as url, SlackTwin() as slack, DiscordTwin() as discord:
        platform = OnDiscord(discord)
        wrong = "xoxb-wrong-token"
        tokens = {"SLACK_BOT_TOKEN": wrong, "SLACK_APP_TOKEN": slack.app_token}
        settings = settings_of(slack, ("moe", url), more=platform.settings)
        environ = {**tokens, **platform.environ}
        async with bot_process(tmp_path, settings, environ, ready="/healthz") as bot:
            await platform.wait_connected()
            await platform.say("What is 6*7?")
            await platform.wait_for_reply(1, "found: 42")
            async with aiohttp.ClientSession() as session, session.get(bot.url) as page:
                assert page.status == 200
            logged = bot.log.read_text()
            told = [line for line in logged.splitlines() if "adapter.refused" in line]
            assert len(told) == 1
            assert "slack" in told[0]
            assert "token" in told[0]
            assert wrong not in logged
            assert "Traceback" not in logged


async def test_an_empty_and_a_broken_message_on_discord_get_their_sentence(
    tmp_path: Path,
) -> None:
    async with ScriptedServer(troubled) as url, DiscordTwin() as discord:
        platform = OnDiscord(discord)
        settings = settings_for(("moe", url), platform=platform.settings)
        async with bot_process(tmp_path, settings, platform.environ):
            await platform.wait_connected()
            await platform.say("")
            await platform.wait_for_reply(1, "empty")
            await platform.say("", files=(("text.png", b"just text"),))
            await platform.wait_for_reply(2, "but holds text")
            await platform.say("please garble")
            await platform.wait_for_reply(3, "(turn ")
            await platform.say("What is 6*7?")
            await platform.wait_for_reply(4, "found: 42")
