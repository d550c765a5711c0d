"""Where people ask during a drill: many channels of a fake Slack and a fake Discord.

Every question is a conversation of its own, and its right answer a number that no other has.
A question is *lost* with neither the answer nor a notice, *doubled* with more messages of the
bot's than parts, and *told* when a notice stands in place of the answer.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from yarl import URL

from bot.testing.discord import DiscordTwin
from bot.testing.slack import SlackTwin

TOLD = ("tell my operator the turn id", "I could not store your question")
_LOOK_EVERY_S = 0.1
_numbers = itertools.count(1)


@dataclass(eq=False)
class Question:
    """`answers` are the texts that must stand there at the end, one for each part."""

    where: str
    text: str
    answers: tuple[str, ...]
    said: list[str] = field(default_factory=list)

    @property
    def is_answered(self) -> bool:
        return all(any(answer in text for text in self.said) for answer in self.answers)

    @property
    def is_told(self) -> bool:
        return any(notice in text for notice in TOLD for text in self.said)

    @property
    def is_lost(self) -> bool:
        return not (self.is_answered or self.is_told)

    @property
    def is_doubled(self) -> bool:
        """A part stands there twice, or a message that is no part of the answer."""
        if self.is_told:
            return len(self.said) > 1
        twice = any(sum(answer in text for text in self.said) > 1 for answer in self.answers)
        return twice or any(not any(a in text for a in self.answers) for text in self.said)

    @property
    def is_in_order(self) -> bool:
        at = [n for answer in self.answers for n, said in enumerate(self.said) if answer in said]
        return at == sorted(at)


def a_sum(where: str, prefix: str = "") -> Question:
    """A question whose answer takes a tool and no other question has."""
    number = next(_numbers)
    return Question(where, f"{prefix}What is {number}*1000+7?", (f"found: {number * 1000 + 7}.",))


class Place(Protocol):
    name: str
    tenant: tuple[str, str]  # platform and workspace or guild
    settings: str
    environ: dict[str, str]
    questions: list[Question]

    async def ask(self, question: Question) -> None: ...

    async def ask_again(self, question: Question) -> None:
        """Deliver the same event once more."""
        ...

    def look(self) -> None:
        """Read from the platform what the bot says to each question now."""
        ...

    def files(self) -> list[bytes]:
        """What each file that the bot posted holds."""
        ...

    def sessions(self) -> int:
        """How many bots are connected."""
        ...


class OnSlack:
    """Questions in threads of their own, spread over `channels`."""

    name = "slack"

    def __init__(self, slack: SlackTwin, *, channels: int = 40, agent: bool = False) -> None:
        self.slack, self.questions = slack, list[Question]()
        slack.is_agent = agent  # then replies are streamed
        self.tenant = ("slack", slack.world.team_id)
        # Many bots, started anew again and again, share the one workspace.
        slack.web.limits = {"chat.postMessage": slack.web.limits["chat.postMessage"]}
        slack.socket.resend_after_s = (0.5, 2.0, 5.0, 10.0, 20.0)  # minutes on the platform
        slack.add_user("U1")
        self._channels = [slack.add_channel(f"C{n:03d}") for n in range(channels)]
        self._next = itertools.cycle(self._channels)
        self._threads: dict[tuple[str, str], Question] = {}
        self._events: dict[str, dict[str, Any]] = {}
        names = ", ".join(f'"{name}"' for name in self._channels)
        self.settings = f"""
[slack]
api_url = "{slack.api_url}"
updates_per_minute = 10000
agent = {str(agent).lower()}
[slack.allow]
workspaces = ["{slack.world.team_id}"]
channels = [{names}]
users = ["U1"]
"""
        self.environ = {"SLACK_BOT_TOKEN": slack.bot_token, "SLACK_APP_TOKEN": slack.app_token}

    async def ask(self, question: Question) -> None:
        channel = next(self._next)
        question.where = await self.slack.say("U1", channel, question.text, mention_bot=True)
        self._threads[channel, question.where] = question
        self._events[question.where] = self.slack.socket.delivered[-1].payload
        self.questions.append(question)

    async def ask_again(self, question: Question) -> None:
        self.slack.socket.send("events_api", self._events[question.where])

    def look(self) -> None:
        said: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for each in self.slack.world.posted.values():
            if each.user == self.slack.world.bot_user_id:
                said[each.channel, each.thread_ts or each.ts].append((each.ts, each.text))
        for place, question in self._threads.items():
            question.said = [text for _, text in sorted(said[place])]

    def files(self) -> list[bytes]:
        world = self.slack.world
        shared = [file for each in world.posted.values() for file in each.files]
        return [world.files[file["id"]][1] for file in shared]

    def sessions(self) -> int:
        return len(self.slack.socket._sockets)


class OnDiscord:
    """Questions that begin chains of replies, spread over `channels`."""

    name = "discord"

    def __init__(self, discord: DiscordTwin, *, channels: int = 40) -> None:
        self.discord, self.questions = discord, list[Question]()
        self.tenant = ("discord", str(discord.world.guild_id))
        discord.gate.messages_limit = (1_000, 5.0)  # many bots share a channel's limit
        self._channels = [discord.world.add_channel("text", f"c{n}") for n in range(channels)]
        self._next = itertools.cycle(self._channels)
        names = ", ".join(f'"{channel.id}"' for channel in self._channels)
        self.settings = f"""
[discord]
api_url = "{discord.api_url}"
gateway_url = "{discord.gateway_url}"
[discord.allow]
guilds = ["{discord.world.guild_id}"]
channels = [{names}]
users = ["{discord.alice.id}"]
"""
        self.environ = {"DISCORD_TOKEN": discord.token}

    async def ask(self, question: Question) -> None:
        self._forget_the_killed()
        said = self.discord.say(
            self.discord.alice, next(self._next), question.text, mention_bot=True
        )
        question.where = await said
        self.questions.append(question)

    async def ask_again(self, question: Question) -> None:
        await self.discord.say_again(question.where)

    def look(self) -> None:
        said: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for each in self.discord.world.messages.values():
            if each.author is self.discord.bot:
                said[str(each.reply_to)].append((each.id, each.content))
        for question in self.questions:
            question.said = [text for _, text in sorted(said[question.where])]

    def files(self) -> list[bytes]:
        world = self.discord.world
        shared = [file for each in world.messages.values() for file in each.files]
        return [world.files[URL(file["url"]).path] for file in shared]

    def _forget_the_killed(self) -> None:
        """A killed process never resumes; its session would collect every event for ever."""
        sessions = self.discord.gateway.sessions
        for session_id in [each for each, kept in sessions.items() if kept.socket is None]:
            del sessions[session_id]

    def sessions(self) -> int:
        return sum(each.socket is not None for each in self.discord.gateway.sessions.values())


async def settle(places: Iterable[Place], *, within_s: float, quiet_s: float = 1.0) -> bool:
    """Wait until no question is lost any more, then `quiet_s` for what must not come."""
    places = list(places)
    try:
        async with asyncio.timeout(within_s):
            while any(each.is_lost for place in places for each in place.questions):
                await asyncio.sleep(_LOOK_EVERY_S)
                for place in places:
                    place.look()
    except TimeoutError:
        return False
    await asyncio.sleep(quiet_s)
    for place in places:
        place.look()
    return True


async def connected(places: Sequence[Place], bots: int, *, within_s: float = 40.0) -> None:
    """Wait until `bots` processes listen on every platform; raises `TimeoutError`."""
    async with asyncio.timeout(within_s):
        while min(place.sessions() for place in places) < bots:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Tally:
    questions: int = 0
    lost: int = 0
    doubled: int = 0
    told: int = 0
    out_of_order: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.questions + other.questions,
            self.lost + other.lost,
            self.doubled + other.doubled,
            self.told + other.told,
            self.out_of_order + other.out_of_order,
        )

    @classmethod
    def of(cls, *places: Place) -> Tally:
        """Look once more, and count."""
        for place in places:
            place.look()
        asked = [each for place in places for each in place.questions]
        counted = Counter[str]()
        for each in asked:
            counted["lost"] += each.is_lost
            counted["doubled"] += each.is_doubled
            counted["told"] += each.is_told
            counted["out of order"] += not each.is_in_order
        return cls(
            len(asked),
            counted["lost"],
            counted["doubled"],
            counted["told"],
            counted["out of order"],
        )

    @property
    def is_clean(self) -> bool:
        return self.lost == self.doubled == self.out_of_order == 0

    def __str__(self) -> str:
        order = f", {self.out_of_order} out of order" if self.out_of_order else ""
        return (
            f"{self.questions:,} questions: {self.lost} lost, {self.doubled} doubled{order}, "
            f"{self.told} told"
        )


def jitter(seed: int) -> random.Random:
    """Random instants that are the same in every run."""
    return random.Random(seed)
