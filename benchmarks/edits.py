"""How a growing reply is shown: first sign, lag behind the model, calls; beside two peers' rules.

Ours is the real adapter with its real SDK; the peers' rules (llmcord d0aa8d2, vercel/chat c4f709fe)
are played over the same API of the same fake platforms, whose limits are the documented ones.
A refused call is waited out as the platform says and made again.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from adapters.chat.discord import DiscordAdapter
from adapters.chat.discord_spots import spot
from adapters.chat.slack import SlackAdapter
from adapters.chat.types import Author, ChatAdapter, Draft, Message
from benchmarks.report import Table
from bot.testing.discord import Channel, DiscordTwin
from bot.testing.slack import SlackTwin
from tools.identity import ConversationKey

TOKEN = "word "  # noqa: S105 (a token of text)
LATENCY_S = 0.15  # of every call: half until it takes effect, half until it is answered
RATES = (5, 20, 50, 200)  # tokens a second
LONGEST_S = 20.0
MOST_TOKENS = 380  # 1,900 characters: one message of Discord
CROWDED = 50  # tokens a second where several replies share a limit
LLMCORD_EVERY_S = 1.0
VERCEL_EVERY_S = {"discord": 0.5, "slack": 1.0}  # on Slack its fallback from native streams


@dataclass
class Shown:
    """What one reply looked like from outside: (monotonic time, text), oldest first."""

    began: float
    texts: list[tuple[float, str]] = field(default_factory=list)
    emitted: list[float] = field(default_factory=list)  # when the model gave each token
    first_sign: float = 0.0

    def lags(self) -> list[float]:
        """Seconds from each token to the first text that shows it; unseen tokens left out."""
        found, at = [], 0
        for number, token_at in enumerate(self.emitted, 1):
            while at < len(self.texts) and self.texts[at][1].count(TOKEN.strip()) < number:
                at += 1
            if at == len(self.texts):
                break
            found.append(max(0.0, self.texts[at][0] - token_at))
        return found


Seen = tuple[list[tuple[float, str]], float]  # every text, and when the message appeared


class Place(Protocol):
    """A thread or channel of a fake platform, with the calls that were made for it."""

    name: str

    async def post(self, text: str) -> str: ...

    async def edit(self, message_id: str, text: str) -> None: ...


class Source:
    """A model that gives tokens at a rate; every policy may look at the text so far."""

    def __init__(self, rate: int, shown: Shown) -> None:
        self.tokens = min(MOST_TOKENS, int(rate * LONGEST_S))
        self.text, self.is_done = "", False
        self._rate, self._shown = rate, shown
        self.moved = asyncio.Event()

    async def run(self) -> None:
        began = time.monotonic()
        for number in range(self.tokens):
            await asyncio.sleep(max(0.0, began + number / self._rate - time.monotonic()))
            self.text += TOKEN
            self._shown.emitted.append(time.monotonic())
            self.moved.set()
        self.is_done = True
        self.moved.set()

    async def until(self, at: float) -> None:
        """Sleep until then, or until the end of the answer."""
        while not self.is_done and (left_s := at - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left_s, 0.02))


async def llmcord(place: Place, source: Source) -> str:
    """Posts with the first text, edits once a second, and once more at the end."""
    await source.moved.wait()
    last = source.text
    message_id = await place.post(last)
    while last != source.text or not source.is_done:
        await source.until(time.monotonic() + LLMCORD_EVERY_S)
        last = source.text
        await place.edit(message_id, last)
    return message_id


async def vercel(place: Place, source: Source) -> str:
    """A placeholder, then an edit so long after the last one was done."""
    last = ""
    message_id = await place.post("...")
    while last != source.text or not source.is_done:
        await source.until(time.monotonic() + VERCEL_EVERY_S[place.name])
        if last != source.text:
            last = source.text
            await place.edit(message_id, last)
    return message_id


async def ours(adapter: ChatAdapter, message: Message, source: Source) -> str:
    """The worker's way with a reply; returns the message's id."""
    reply = adapter.reply(message)
    opening = asyncio.create_task(reply.open(None))
    while not source.is_done:
        source.moved.clear()
        await source.moved.wait()
        if opening.done():
            reply.show(Draft(source.text))
    message_id = await opening
    await reply.deliver(0, source.text, token="part-0")  # noqa: S106
    await reply.aclose()
    return message_id


class OnSlack:
    """Every question in a channel of its own: the limit that they share is the workspace's."""

    name = "slack"

    def __init__(self, twin: SlackTwin, session: aiohttp.ClientSession) -> None:
        self.twin, self._session = twin, session
        self._numbers = itertools.count(1)

    async def post(self, text: str) -> str:
        channel, thread = await self.question()
        args = {"channel": channel, "text": text, "thread_ts": thread}
        return f"{channel}:{(await self._call('chat.postMessage', args))['ts']}"

    async def edit(self, message_id: str, text: str) -> None:
        channel, _, ts = message_id.partition(":")
        await self._call("chat.update", {"channel": channel, "ts": ts, "text": text})

    async def question(self) -> tuple[str, str]:
        channel = self.twin.add_channel(f"C{next(self._numbers)}")
        return channel, await self.twin.say("U1", channel, "a long question")

    async def _call(self, method: str, args: dict[str, str]) -> dict[str, object]:
        head = {"Authorization": f"Bearer {self.twin.bot_token}"}
        while True:
            url = self.twin.api_url + method
            async with self._session.post(url, data=args, headers=head) as answer:
                if answer.status != 429:
                    return dict(await answer.json())
                await asyncio.sleep(float(answer.headers["Retry-After"]))

    @property
    def calls(self) -> int:
        """Those that were refused for speed too."""
        refused = sum(count for why, count in self.twin.web.refused.items() if "limited" in why)
        chats = sum(name.startswith("chat.") for _, name, _ in self.twin.web.calls)
        return refused + chats

    def seen(self, message_id: str) -> Seen:
        edits = self.twin.edits_of(message_id.rpartition(":")[2])
        return [(each.at, each.text) for each in edits], edits[0].at

    async def message(self) -> Message:
        team = self.twin.world.team_id
        channel, thread = await self.question()
        return Message(
            event_id=f"{channel}:{thread}",
            adapter="slack",
            conversation=ConversationKey(f"slack:{team}", "public", channel, thread),
            author=Author("U1", "member"),
            text="a long question",
            sent_at=time.time(),
            message_id=f"{channel}:{thread}",
            addressing="mention",
        )


class OnDiscord:
    name = "discord"

    def __init__(
        self, twin: DiscordTwin, session: aiohttp.ClientSession, channel: Channel | None = None
    ) -> None:
        self.twin, self._session = twin, session
        self._channel = channel or twin.world.add_channel("text", "somewhere")
        self._path = f"/channels/{self._channel.id}/messages"

    async def post(self, text: str) -> str:
        return str((await self._call("POST", self._path, text))["id"])

    async def edit(self, message_id: str, text: str) -> None:
        await self._call("PATCH", f"{self._path}/{message_id}", text)

    async def _call(self, verb: str, path: str, text: str) -> dict[str, object]:
        head, url = {"Authorization": f"Bot {self.twin.token}"}, self.twin.api_url + path
        while True:
            async with self._session.request(
                verb, url, json={"content": text}, headers=head
            ) as answer:
                told = await answer.json()
                if answer.status != 429:
                    return dict(told)
                await asyncio.sleep(float(told["retry_after"]))

    @property
    def calls(self) -> int:
        return sum(self._path in path and verb != "GET" for _, verb, path in self.twin.gate.calls)

    def seen(self, message_id: str) -> Seen:
        posted = self.twin.message(message_id)
        return posted.texts, posted.posted_at

    async def message(self) -> Message:
        said = await self.twin.say(self.twin.alice, self._channel, "a long question")
        guild = f"discord:{self.twin.world.guild_id}"
        return Message(
            event_id=said,
            adapter="discord",
            conversation=ConversationKey(guild, "public", str(self._channel.id), said),
            author=Author(str(self.twin.alice.id), "member"),
            text="a long question",
            sent_at=time.time(),
            message_id=spot(self._channel.id, int(said)),
            addressing="mention",
        )


AnyPlace = OnSlack | OnDiscord


@dataclass
class Load:
    """`replies` at once in one place of a platform, by one rule."""

    platform: str
    rule: str
    rate: int
    replies: int = 1
    shown: list[Shown] = field(default_factory=list)
    calls: int = 0


async def _play(load: Load, place: AnyPlace, adapter: ChatAdapter | None) -> None:
    async def one() -> None:
        shown = Shown(time.monotonic())
        source = Source(load.rate, shown)
        load.shown.append(shown)
        giving = asyncio.create_task(source.run())
        if adapter is None:
            message_id = await (llmcord if load.rule == "llmcord" else vercel)(place, source)
        else:
            message_id = await ours(adapter, await place.message(), source)
        shown.texts, shown.first_sign = place.seen(message_id)
        await giving

    before = place.calls
    await asyncio.gather(*(one() for _ in range(load.replies)))
    load.calls = place.calls - before


async def _on_slack(load: Load, session: aiohttp.ClientSession) -> None:
    """A workspace of its own, for its limits are the workspace's."""
    async with SlackTwin() as twin:
        twin.add_user("U1")
        twin.web.latency_s = LATENCY_S
        place = OnSlack(twin, session)
        if load.rule != "firstline":
            return await _play(load, place, None)
        adapter = SlackAdapter(
            bot_token=twin.bot_token, app_token=twin.app_token, api_url=twin.api_url
        )
        async with _connected(adapter):
            return await _play(load, place, adapter)


@asynccontextmanager
async def _connected(adapter: ChatAdapter) -> AsyncIterator[None]:
    connecting = asyncio.create_task(adapter.answer_only())
    while not adapter.connected:  # noqa: ASYNC110 (an adapter tells nobody)
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        connecting.cancel()
        await asyncio.wait((connecting,))


async def measure() -> list[Table]:
    """Every load at the same time, each on limits of its own."""
    rules = ("firstline", "llmcord", "vercel/chat")
    alone = [
        Load(platform, rule, rate)
        for platform in ("slack", "discord")
        for rate in RATES
        for rule in rules
    ]
    crowded = [
        Load(platform, rule, CROWDED, replies)
        for platform, replies in (("slack", 10), ("discord", 3))
        for rule in rules
    ]
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        discord = await stack.enter_async_context(DiscordTwin())
        adapter = DiscordAdapter(
            token=discord.token, api_url=discord.api_url, gateway_url=discord.gateway_url
        )
        await stack.enter_async_context(_connected(adapter))
        discord.gate.latency_s = LATENCY_S
        for loads in (alone, crowded):
            await asyncio.gather(
                *(
                    _on_slack(load, session)
                    if load.platform == "slack"
                    else _play(
                        load,
                        OnDiscord(discord, session),
                        adapter if load.rule == "firstline" else None,
                    )
                    for load in loads
                )
            )
    return [_table("One growing reply", alone), _table("Replies that share a limit", crowded)]


def _table(title: str, loads: list[Load]) -> Table:
    columns = ("platform", "tokens/s", "replies", "rule", "calls a reply", "first sign s")
    table = Table(title, (*columns, "first text s", "mean lag s", "end lag s", "never shown"))
    for load in loads:
        lags = [lag for shown in load.shown for lag in shown.lags()]
        unseen = 1 - len(lags) / sum(len(shown.emitted) for shown in load.shown)
        ends = [shown.texts[-1][0] - shown.emitted[-1] for shown in load.shown]
        signs = [shown.first_sign - shown.began for shown in load.shown]
        firsts = [shown.lags()[0] for shown in load.shown]
        table.add(
            load.platform,
            load.rate,
            load.replies,
            load.rule,
            f"{load.calls / load.replies:.1f}",
            f"{statistics.median(signs):.2f}",
            f"{statistics.median(firsts):.2f}",
            f"{statistics.fmean(lags):.2f}",
            f"{statistics.median(ends):.2f}",
            f"{100 * unseen:.0f} %",
        )
    return table
