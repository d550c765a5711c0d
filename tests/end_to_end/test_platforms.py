"""A person's message with a picture, all the way: real SDKs, wire-level twins, real Redis.

The bot is a process of its own; the model is scripted and speaks over HTTP.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest
from PIL import Image

from adapters.models.scripted import Reply, Say, Step, demo_policy
from adapters.models.scripted_server import ScriptedServer
from agents.ports import ModelRequest
from bot.testing.discord import DiscordTwin
from bot.testing.mattermost import MattermostTwin
from bot.testing.slack import SlackTwin
from tests.end_to_end.bot_process import bot_process
from tests.pictures import encoded

QUESTION = "What is 17*23, and what does the picture show?"
RED_PNG = encoded(Image.new("RGB", (64, 64), (255, 0, 0)), "PNG")


class Platform(Protocol):
    """A twin with one person who talks to the bot in one thread."""

    settings: str
    environ: dict[str, str]

    async def say(self, text: str, *, files: tuple[tuple[str, bytes], ...] = ()) -> None: ...

    def replies(self) -> list[str]: ...

    def drafts(self) -> list[str]: ...

    async def wait_for_reply(self, number: int, ending: str) -> str: ...

    async def wait_connected(self) -> None: ...


class OnSlack:
    def __init__(self, slack: SlackTwin) -> None:
        self.slack = slack
        self.user, self.channel = slack.add_user("U1"), slack.add_channel("C1")
        self.root: str | None = None
        self.settings = f"""
[slack]
api_url = "{slack.api_url}"
[slack.allow]
workspaces = ["{slack.world.team_id}"]
channels = ["C1"]
users = ["U1"]
"""
        self.environ = {"SLACK_BOT_TOKEN": slack.bot_token, "SLACK_APP_TOKEN": slack.app_token}

    async def say(self, text: str, *, files: tuple[tuple[str, bytes], ...] = ()) -> None:
        if self.root is None:
            self.root = await self.slack.say(self.user, self.channel, "Who can help me?")
            await self.slack.say(
                self.user, self.channel, text, thread=self.root, files=files, mention_bot=True
            )
        else:
            await self.slack.say(self.user, self.channel, text, thread=self.root, files=files)

    def replies(self) -> list[str]:
        posted = self.slack.posted(self.channel, self.root)
        return [each.text for each in posted if each.user == self.slack.world.bot_user_id]

    def drafts(self) -> list[str]:
        posted = self.slack.posted(self.channel, self.root)
        last = [each for each in posted if each.user == self.slack.world.bot_user_id][-1]
        return [edit.text for edit in self.slack.edits_of(last.ts)]

    async def wait_for_reply(self, number: int, ending: str) -> str:
        await self.slack.wait_for(
            lambda: len(self.replies()) >= number and ending in self.replies()[-1], 25
        )
        return self.replies()[-1]

    async def wait_connected(self) -> None:
        await self.slack.socket.connected(20)


class OnDiscord:
    def __init__(self, discord: DiscordTwin) -> None:
        self.discord = discord
        self.settings = f"""
[discord]
api_url = "{discord.api_url}"
gateway_url = "{discord.gateway_url}"
[discord.allow]
guilds = ["{discord.world.guild_id}"]
channels = ["{discord.general.id}"]
users = ["{discord.alice.id}"]
"""
        self.environ = {"DISCORD_TOKEN": discord.token}

    async def say(self, text: str, *, files: tuple[tuple[str, bytes], ...] = ()) -> None:
        earlier = self.discord.posted(self.discord.general)
        await self.discord.say(
            self.discord.alice,
            self.discord.general,
            text,
            reply_to=str(earlier[-1].id) if earlier else None,
            files=files,
            mention_bot=not earlier,
        )

    def replies(self) -> list[str]:
        return [each.content for each in self.discord.posted(self.discord.general)]

    def drafts(self) -> list[str]:
        last = self.discord.posted(self.discord.general)[-1]
        return [text for _, text in self.discord.edits_of(str(last.id))]

    async def wait_for_reply(self, number: int, ending: str) -> str:
        await self.discord.wait_for(
            lambda: len(self.replies()) >= number and ending in self.replies()[-1], 25
        )
        return self.replies()[-1]

    async def wait_connected(self) -> None:
        await self.discord.wait_connected()


class OnMattermost:
    def __init__(self, server: MattermostTwin) -> None:
        self.server = server
        self.user = server.add_user("alice".ljust(26, "0"))
        self.channel, self.root = server.add_channel("general".ljust(26, "0")), ""
        self.settings = f"""
[mattermost]
url = "{server.url}"
calls_per_s = 50
[mattermost.allow]
teams = ["{server.world.team_id}"]
channels = ["{self.channel}"]
users = ["{self.user}"]
"""
        self.environ = {"MATTERMOST_TOKEN": server.token}

    async def say(
        self, text: str, *, files: tuple[tuple[str, bytes], ...] = (), told: int = 2
    ) -> None:
        """Told twice: the socket promises no more than that."""
        said = await self.server.say(
            self.user,
            self.channel,
            text,
            root=self.root,
            files=files,
            mention_bot=not self.root,
            told=told,
        )
        self.root = self.root or said

    def replies(self) -> list[str]:
        return self.server.replies(self.channel)

    def drafts(self) -> list[str]:
        return self.server.edits_of(self.server.posts(self.channel)[-1]["id"])

    async def wait_for_reply(self, number: int, ending: str) -> str:
        """Drafts come quickly here: the text is whole when it has stopped growing."""
        await self.server.wait_for(
            lambda: len(self.replies()) >= number and ending in self.replies()[-1], 25
        )
        seen = ""
        while seen != self.replies()[-1]:
            seen = self.replies()[-1]
            await asyncio.sleep(1.0)
        return seen

    async def wait_connected(self) -> None:
        await self.server.sockets.connected(20)


@asynccontextmanager
async def platform_named(name: str) -> AsyncIterator[Platform]:
    async with AsyncExitStack() as stack:
        if name == "slack":
            yield OnSlack(await stack.enter_async_context(SlackTwin()))
        elif name == "mattermost":
            yield OnMattermost(await stack.enter_async_context(MattermostTwin()))
        else:
            yield OnDiscord(await stack.enter_async_context(DiscordTwin()))


def slowly(request: ModelRequest) -> Reply:
    """The demo script at the pace of a real model, so that streaming can be seen."""
    reply = demo_policy(request)
    if isinstance(reply, Say | Step):
        return dataclasses.replace(reply, chunk=6, delay_s=0.06)
    return reply


def models(url: str) -> str:
    return f"""
[models.routes.moe]
backend = "openai_api"
base_url = "{url}"
model = "scripted"
context_tokens = 8192
[models.routes.eyes]
backend = "openai_api"
base_url = "{url}"
model = "scripted"
max_images = 4
[roles]
planner = ["moe"]
vision = ["eyes"]
[turns]
lease_s = 2
renew_s = 0.5
sweep_s = 0.5
"""


@pytest.mark.parametrize("name", ["slack", "discord", "mattermost"])
async def test_a_message_with_a_picture_is_answered_in_its_thread_and_remembered_after_a_kill(
    name: str, tmp_path: Path
) -> None:
    async with (
        ScriptedServer(slowly) as url,
        platform_named(name) as platform,
        bot_process(tmp_path, platform.settings + models(url), platform.environ) as bot,
    ):
        await platform.wait_connected()
        await platform.say(QUESTION, files=(("red.png", RED_PNG),))
        first = await platform.wait_for_reply(1, "picture.")
        assert "391" in first, "one tool ran"
        assert "a red 64×64 picture" in first, "the vision model saw the real pixels"
        assert len([draft for draft in platform.drafts() if first.startswith(draft)]) >= 2

        await platform.say("Thank you!")
        second = await platform.wait_for_reply(2, "Before that")
        assert QUESTION in second, "the thread is remembered"

        await bot.kill()
        await bot.start()
        await platform.wait_connected()
        await platform.say("Are you still there?")
        third = await platform.wait_for_reply(3, "Before that")
        assert "Thank you!" in third, "and outlives a kill"
        assert len(platform.replies()) == 3


@pytest.mark.parametrize("name", ["slack", "discord", "mattermost"])
async def test_a_turn_whose_process_was_killed_is_finished_by_the_next_one(
    name: str, tmp_path: Path
) -> None:
    async with (
        ScriptedServer(slowly) as url,
        platform_named(name) as platform,
        bot_process(tmp_path, platform.settings + models(url), platform.environ) as bot,
    ):
        await platform.wait_connected()
        await platform.say("What is 6*7?")
        await platform.wait_for_reply(1, "")
        await bot.kill()  # perhaps before the placeholder's id was stored
        await bot.start()

        assert "42" in await platform.wait_for_reply(1, "42")
        assert len(platform.replies()) == 1, "the placeholder was taken over, not orphaned"


async def test_someone_who_is_not_named_gets_no_turn(tmp_path: Path) -> None:
    async with (
        ScriptedServer() as url,
        SlackTwin() as slack,
    ):
        platform = OnSlack(slack)
        slack.add_user("U2")
        async with bot_process(tmp_path, platform.settings + models(url), platform.environ) as bot:
            await platform.wait_connected()
            await slack.say("U2", "C1", "Let me in", mention_bot=True)
            await slack.say("U1", "C1", "What is 2*3?", mention_bot=True)
            await slack.wait_for(
                lambda: any("found: 6." in text for text in all_replies(slack)), 20
            )

            assert len(all_replies(slack)) == 1
            assert "admission.denied" in bot.log.read_text()
            assert "Let me in" not in bot.log.read_text()


def all_replies(slack: SlackTwin) -> list[str]:
    posted = slack.world.posted.values()
    return [each.text for each in posted if each.user == slack.world.bot_user_id]
