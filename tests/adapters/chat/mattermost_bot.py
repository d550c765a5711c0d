"""A fake Mattermost server with Alice in a channel, and the adapter that listens there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest_asyncio

from adapters.chat.mattermost import MattermostAdapter
from adapters.chat.types import ChannelRule, Message
from bot.testing.mattermost import MattermostTwin
from tests.contracts.chat import RecordingInbox, running


class Scene:
    """A server with Alice in a channel, and the adapter that listens there."""

    def __init__(self, server: MattermostTwin) -> None:
        self.server, self.inbox = server, RecordingInbox()
        self.alice, self.general = server.add_user("alice"), server.add_channel("general")
        self.rule = ChannelRule()

    def adapter(self) -> MattermostAdapter:
        return MattermostAdapter(
            url=self.server.url,
            token=self.server.token,
            calls_per_s=100,
            retry_for_s=2.0,
            reconnect_s=0.05,
            rules=lambda _: self.rule,
        )

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[MattermostAdapter]:
        adapter = self.adapter()
        async with running(adapter, self.inbox):
            await self.server.sockets.connected()
            yield adapter

    async def asked(self, text: str = "What is 6*7?") -> Message:
        await self.server.say(self.alice, self.general, text, mention_bot=True)
        return await self.inbox.next()


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    async with MattermostTwin() as server:
        yield Scene(server)
