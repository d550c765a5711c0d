"""The fake as a whole, with the verbs of the people who use it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, Self

from aiohttp import web

from bot.testing.discord.faults import DiscordFaults
from bot.testing.discord.gateway import Gateway
from bot.testing.discord.interactions import Interactions
from bot.testing.discord.limits import Gate, Planned
from bot.testing.discord.rest import Rest
from bot.testing.discord.world import Channel, Json, Posted, User, World


class DiscordTwin:
    """`async with DiscordTwin() as discord:`; point the bot at `api_url` and `gateway_url`."""

    def __init__(self, token: str = "twin-token") -> None:  # noqa: S107
        self.token = token
        self.world = World()
        self.gate = Gate(token)
        self.gateway = Gateway(self.world, token)
        self.rest = Rest(self.world, self.gateway)
        self.interactions = Interactions(self.world, self.gateway, self.rest)
        self.bot, self.previews = self.world.bot, self.rest.previews
        self.faults = DiscordFaults(self)
        self.alice = self.world.add_user("alice")
        self.bob = self.world.add_user("bob")
        self.other_bot = self.world.add_user("noisy", bot=True)
        self.webhook = self.world.add_user("hook", webhook=True)
        self.general = self.world.add_channel("text", "general")
        self.staff = self.world.add_channel("private", "staff")
        self.dm = self.world.add_channel("dm", owner=self.alice)
        self._runner: web.AppRunner | None = None

    @property
    def api_url(self) -> str:
        return f"{self.world.base_url}/api/v10"

    @property
    def gateway_url(self) -> str:
        return self.gateway.url

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self.gate.middleware], client_max_size=30 << 20)
        app.add_routes(self.rest.routes() + self.interactions.routes())
        app.add_routes([web.get("/gateway", self.gateway.connect), *self.world.cdn.routes()])
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.world.base_url = self.world.cdn.base_url = f"http://127.0.0.1:{port}"
        self.gateway.url = f"ws://127.0.0.1:{port}/gateway"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drop_connections()
        await self.previews.settle()
        if self._runner is not None:
            await self._runner.cleanup()

    async def say(
        self,
        user: User,
        channel: Channel,
        text: str,
        *,
        reply_to: str | None = None,
        files: Sequence[tuple[str, bytes]] = (),
        mention_bot: bool = False,
    ) -> str:
        """Say something in a channel; returns the message's id."""
        content = f"{self.bot.mention} {text}" if mention_bot else text
        shown = [self.world.add_file(channel, *each) for each in files]
        to = None if reply_to is None else int(reply_to)
        posted = self.world.add_message(channel, user, content, files=shown, reply_to=to)
        await self.gateway.message("MESSAGE_CREATE", posted)
        return str(posted.id)

    async def say_again(self, message_id: str) -> None:
        """Dispatch a message a second time, as Discord sometimes does."""
        await self.gateway.message("MESSAGE_CREATE", self.message(message_id))

    async def command(
        self, user: User, channel: Channel, name: str, options: Json | None = None
    ) -> str:
        """Use a slash command; returns the interaction's id."""
        return str((await self.interactions.start(user, channel, name, options or {})).id)

    def answer_to(self, interaction_id: str) -> Posted | None:
        """The first answer to a slash command, private or not."""
        for asked in self.interactions.by_token.values():
            if str(asked.id) == interaction_id:
                return asked.original
        return None

    async def start_thread(self, channel: Channel, owner: User, name: str = "thread") -> Channel:
        thread = self.world.add_channel("thread", name, parent=channel, owner=owner)
        await self.gateway.broadcast("THREAD_CREATE", self.world.channel_payload(thread))
        return thread

    async def open_post(
        self, forum: Channel, user: User, title: str, text: str, *, mention_bot: bool = False
    ) -> Channel:
        """A post in a forum, whose first message has the id of its thread."""
        post = await self.start_thread(forum, user, title)
        content = f"{self.bot.mention} {text}" if mention_bot else text
        posted = self.world.add_message(post, user, content, message_id=post.id)
        await self.gateway.message("MESSAGE_CREATE", posted)
        return post

    def delete(self, message_id: str) -> None:
        """A message is gone, and the bot was not told."""
        del self.world.messages[int(message_id)]

    async def edit(self, message_id: str, text: str) -> None:
        """A person changes what they said."""
        posted = self.message(message_id)
        self.rest.rewrite(posted, {"content": text})
        await self.gateway.message("MESSAGE_UPDATE", posted)

    async def unfurl(self, message_id: str) -> None:
        """A link in a message grows a preview: told as an update, though nobody edited it."""
        await self.gateway.message("MESSAGE_UPDATE", self.message(message_id))

    async def take_away(self, *message_ids: str) -> None:
        """A person, or a moderator with many at once, deletes messages."""
        posted = [self.world.messages.pop(int(message_id)) for message_id in message_ids]
        where: Json = {"channel_id": str(posted[0].channel.id)}
        if posted[0].channel.kind != "dm":
            where["guild_id"] = str(self.world.guild_id)
        if len(posted) == 1:
            await self.gateway.broadcast("MESSAGE_DELETE", {"id": str(posted[0].id), **where})
        else:
            ids = [str(each.id) for each in posted]
            await self.gateway.broadcast("MESSAGE_DELETE_BULK", {"ids": ids, **where})

    async def delete_channel(self, channel: Channel) -> None:
        """A channel or thread goes, and nothing is told of the messages in it."""
        for posted in self.world.in_channel(channel):
            del self.world.messages[posted.id]
        del self.world.channels[channel.id]
        shown, event = self.world.channel_payload(channel), "CHANNEL_DELETE"
        if channel.kind == "thread":
            shown = {key: shown[key] for key in ("id", "guild_id", "parent_id", "type")}
            event = "THREAD_DELETE"
        await self.gateway.broadcast(event, shown)

    async def press(self, user: User, message_id: str, kind: str) -> str:
        """Press the button of this kind under a message; returns the interaction's id."""
        posted = self.message(message_id)
        custom_id = next(each for each in posted.buttons if f":{kind}:" in each)
        return str((await self.interactions.press(user, posted, custom_id)).id)

    def message(self, message_id: str) -> Posted:
        return self.world.messages[int(message_id)]

    def posted(self, channel: Channel) -> list[Posted]:
        """What the bot posted in a channel, oldest first."""
        return [p for p in self.world.in_channel(channel) if p.author is self.bot]

    def messages(self, channel: Channel) -> list[str]:
        """The texts in a channel as they stand now, oldest first."""
        return [posted.content for posted in self.world.in_channel(channel)]

    def edits_of(self, message_id: str) -> list[tuple[float, str]]:
        return list(self.message(message_id).edits)

    async def wait_for(self, predicate: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """Wait until `predicate()` is true; returns what it gave."""
        async with asyncio.timeout(timeout_s):
            while not (found := predicate()):  # noqa: ASYNC110 (any state may change it)
                await asyncio.sleep(0.01)
        return found

    async def wait_connected(self, timeout_s: float = 15.0) -> None:
        await self.wait_for(
            lambda: any(s.socket for s in self.gateway.sessions.values()), timeout_s
        )

    def drop_connections(self) -> None:
        self.gateway.drop()

    def forget_sessions(self) -> None:
        """Drop everyone, and refuse every RESUME with an invalid session."""
        self.gateway.drop()
        self.gateway.sessions.clear()

    async def crash_clients(self) -> None:
        """Send the explicit null that ends discord.py's `Client.start` with a TypeError."""
        await self.gateway.broadcast(
            "MESSAGE_CREATE", {"channel_id": str(self.general.id), "guild_id": None}
        )

    def refuse(
        self,
        method: str,
        path: str,
        status: int,
        *,
        body: Json | str | None = None,
        headers: dict[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Answer the next `times` requests whose path matches with this; text is a page."""
        told = body or {"message": "refused", "code": 0}
        if status == 429 and not isinstance(body, str):
            told = {"message": "limited", "retry_after": 0.5, "global": False} | (body or {})
        planned = Planned(method, re.compile(path), status, told, times, headers or {})
        self.gate.planned.append(planned)
