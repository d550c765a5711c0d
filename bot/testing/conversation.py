"""A person who talks to firstline on a twin: the whole bot at work, but for the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from adapters.chat.slack_blocks import APPROVE, button_values
from adapters.models.scripted_server import ScriptedServer
from adapters.stores.approvals import Choice
from bot.app import Bot, open_bot
from bot.records import Ending, Event
from bot.settings import load_settings
from bot.stores import open_stores
from bot.testing.discord import DiscordTwin
from bot.testing.mattermost import MattermostTwin
from bot.testing.model import ScriptedModel
from bot.testing.recorder import Recorder, record_discord, record_mattermost, record_slack
from bot.testing.slack import SlackTwin
from bot.testing.slack.world import Posted
from bot.turn import OWN_WORDS
from bot.wiring import platforms

File = tuple[str, bytes]
CONNECT_S = 20.0


class Person(Protocol):
    """Someone in one thread of a twin, and the settings of a bot that serves them."""

    recorder: Recorder

    @property
    def settings(self) -> Mapping[str, Any]: ...

    async def connected(self) -> None: ...

    async def say(self, text: str, files: Sequence[File] = ()) -> None: ...

    def card(self) -> int:
        """Which of the replies is the bot's last card."""

    async def press(self, kind: Choice) -> None:
        """Agree to the bot's last card, or refuse it."""

    def replies(self) -> list[str]: ...


class OnSlack:
    def __init__(self, slack: SlackTwin) -> None:
        self.slack, self.recorder = slack, record_slack(slack)
        self.user, self.channel = slack.add_user("U1"), slack.add_channel("C1")
        self.thread: str | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "slack.bot_token": self.slack.bot_token,
            "slack.app_token": self.slack.app_token,
            "slack.api_url": self.slack.api_url,
            "slack.allow.workspaces": [self.slack.world.team_id],
            "slack.allow.channels": [self.channel],
            "slack.allow.users": [self.user],
        }

    async def connected(self) -> None:
        await self.slack.socket.connected(CONNECT_S)

    async def say(self, text: str, files: Sequence[File] = ()) -> None:
        """In the channel with a mention, then in the thread of the first question."""
        first = self.thread is None
        said = await self.slack.say(
            self.user, self.channel, text, thread=self.thread, files=files, mention_bot=first
        )
        self.thread = self.thread or said

    def card(self) -> int:
        return _last([button_values(each.to_json(), APPROVE) for each in self._posted()])

    async def press(self, kind: Choice) -> None:
        ts = self._posted()[self.card()].ts
        await self.slack.press(self.user, self.channel, ts, f"firstline_{kind}")

    def replies(self) -> list[str]:
        return [each.text for each in self._posted()]

    def _posted(self) -> list[Posted]:
        posted = self.slack.posted(self.channel, self.thread)
        return [each for each in posted if each.user == self.slack.world.bot_user_id]


class OnDiscord:
    def __init__(self, discord: DiscordTwin) -> None:
        self.discord, self.recorder = discord, record_discord(discord)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "discord.token": self.discord.token,
            "discord.api_url": self.discord.api_url,
            "discord.gateway_url": self.discord.gateway_url,
            "discord.allow.guilds": [str(self.discord.world.guild_id)],
            "discord.allow.channels": [str(self.discord.general.id)],
            "discord.allow.users": [str(self.discord.alice.id)],
        }

    async def connected(self) -> None:
        await self.discord.wait_connected(CONNECT_S)

    async def say(self, text: str, files: Sequence[File] = ()) -> None:
        """With a mention, then as a reply to the bot's last message."""
        discord, earlier = self.discord, self.discord.posted(self.discord.general)
        await discord.say(
            discord.alice,
            discord.general,
            text,
            reply_to=str(earlier[-1].id) if earlier else None,
            files=files,
            mention_bot=not earlier,
        )

    def card(self) -> int:
        posted = self.discord.posted(self.discord.general)
        return _last([any(":approve:" in each for each in one.buttons) for one in posted])

    async def press(self, kind: Choice) -> None:
        card = self.discord.posted(self.discord.general)[self.card()]
        await self.discord.press(self.discord.alice, str(card.id), kind)

    def replies(self) -> list[str]:
        return [each.content for each in self.discord.posted(self.discord.general)]


class OnMattermost:
    def __init__(self, server: MattermostTwin) -> None:
        self.server, self.recorder = server, record_mattermost(server)
        self.user = server.add_user("alice".ljust(26, "0"))  # ids are 26 letters and digits
        self.channel = server.add_channel("general".ljust(26, "0"))
        self.root = ""

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "mattermost.url": self.server.url,
            "mattermost.token": self.server.token,
            "mattermost.calls_per_s": 50,
            "mattermost.allow.teams": [self.server.world.team_id],
            "mattermost.allow.channels": [self.channel],
            "mattermost.allow.users": [self.user],
        }

    async def connected(self) -> None:
        await self.server.sockets.connected(CONNECT_S)

    async def say(self, text: str, files: Sequence[File] = ()) -> None:
        """In the channel with a mention, then in the thread of the first question."""
        said = await self.server.say(
            self.user, self.channel, text, root=self.root, files=files, mention_bot=not self.root
        )
        self.root = self.root or said

    def card(self) -> int:
        return len(self.replies()) - 1

    async def press(self, kind: Choice) -> None:
        """No buttons here: written, as everywhere."""
        await self.say(f"!{kind}")

    def replies(self) -> list[str]:
        return self.server.replies(self.channel)


class Clock:
    """The bot's clock: the machine's, and what was set forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


class Conversation:
    """One person's talk with the bot; made by `conversation`."""

    def __init__(
        self,
        person: Person,
        model: ScriptedModel,
        bot: Bot,
        endings: asyncio.Queue[Ending],
        clock: Clock,
    ) -> None:
        self.person, self.model, self.recorder = person, model, person.recorder
        self.bot, self._endings, self.clock = bot, endings, clock
        self.ended: Ending | None = None  # how the last turn that `ask` waited for ended

    async def ask(self, text: str, files: Sequence[File] = (), *, timeout_s: float = 20.0) -> str:
        """Say something, wait until its turn has ended, and read the reply, all parts of it.

        Raises `TimeoutError` when the turn does not end in time.
        """
        before = len(self.person.replies())
        await self.person.say(text, files)
        await self._end(timeout_s)
        return "\n".join(self.person.replies()[before:])

    async def press(self, kind: Choice, *, timeout_s: float = 20.0) -> str:
        """Decide what the last reply asks for, and read what stands in its place then."""
        card = self.person.card()
        await self.person.press(kind)
        await self._end(timeout_s)
        return self.person.replies()[card]

    async def ask_command(self, text: str, *, timeout_s: float = 20.0) -> str:
        """Type a command such as `!help`, and read its answer."""
        before = len(self.person.replies())
        await self.person.say(text)
        await self.turn_ended("command", timeout_s=timeout_s)
        return "\n".join(self.person.replies()[before:])

    async def turn_ended(self, reason: str, *, timeout_s: float = 20.0) -> None:
        """Wait for the end of the next turn that ends for this reason: "command", "reminder"…"""
        async with asyncio.timeout(timeout_s):
            while (ended := await self._endings.get()).reason != reason:
                pass
        self.ended = ended

    async def hear(self, text: str, *, timeout_s: float = 20.0) -> str:
        """Wait until the bot says something unasked that holds `text`, and read it all."""
        async with asyncio.timeout(timeout_s):
            while True:
                for said in self.person.replies():
                    if text in said:
                        return said
                await asyncio.sleep(0.05)

    async def _end(self, timeout_s: float) -> None:
        """The end of the next turn that is more than a command, or words of the bot's own."""
        async with asyncio.timeout(timeout_s):
            while (ended := await self._endings.get()).reason in OWN_WORDS:
                pass
        self.ended = ended


@asynccontextmanager
async def conversation(
    person: Person, model: ScriptedModel, *, folder: Path, settings: Mapping[str, Any]
) -> AsyncIterator[Conversation]:
    """Run the bot for one person, its Redis and its data in `folder`.

    `settings` has dotted names, as in `{"tools.file": "my_tools.py"}`.
    """
    endings = asyncio.Queue[Ending]()

    def ended(event: Event, ending: Ending) -> None:
        endings.put_nowait(ending)

    clock = Clock()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(ScriptedServer(model))
        known = load_settings(
            _empty(folder), environ={}, overrides=_defaults(folder, url, person, settings)
        )
        stores = await stack.enter_async_context(open_stores(known))
        bot = await stack.enter_async_context(
            open_bot(known, stores, platforms(known, stores), ended=ended, clock=clock)
        )
        stop = asyncio.Event()
        running = asyncio.create_task(bot.run(stop), name="bot")
        try:
            await person.connected()
            yield Conversation(person, model, bot, endings, clock)
        finally:
            stop.set()
            await running


def _last(found: Sequence[object]) -> int:
    """The place of the last that is there; raises `AssertionError` without one."""
    places = [place for place, each in enumerate(found) if each]
    assert places, "there is no card with a button"
    return places[-1]


def _empty(folder: Path) -> Path:
    """A settings file, so that the one in the current folder is not read."""
    file = folder / "firstline.toml"
    file.touch()
    return file


def _defaults(
    folder: Path, model_url: str, person: Person, settings: Mapping[str, Any]
) -> dict[str, Any]:
    route = {"backend": "openai_api", "base_url": model_url, "model": "scripted"}
    return {
        "data_dir": folder / "data",
        "models.routes.scripted": {**route, "context_tokens": 8192, "max_images": 4},
        "roles.planner": ["scripted"],
        "roles.vision": ["scripted"],
        **person.settings,
        **settings,
    }
