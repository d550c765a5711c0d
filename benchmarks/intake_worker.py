"""The listening side of the intake benchmark: a platform's own SDK with a handler that does
nothing, or the product's adapter with its gate and its ledger.

Reads orders as JSON on its command line; each line on stdin is answered with
`{"events": …, "cpu_s": …}`: how many messages were handled, and this process' CPU time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from adapters.chat.types import ChatAdapter, Message, Receipt
from bot.app import open_bot
from bot.garbage import keep_for_good
from bot.inbox import BotInbox
from bot.logs import configure_logs
from bot.settings import load_settings
from bot.stores import open_stores
from bot.wiring import platforms

handled: set[str] = set()


class Counting:
    """The product's inbox; remembers which messages it stored."""

    def __init__(self, inbox: BotInbox) -> None:
        self._inbox = inbox

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inbox, name)

    async def accept(self, message: Message) -> Receipt:
        receipt = await self._inbox.accept(message)
        if receipt is Receipt.ACCEPTED:
            handled.add(message.event_id)
        return receipt


async def product(order: dict[str, Any], stack: AsyncExitStack) -> None:
    settings = load_settings(environ={}, overrides=order["settings"])
    stores = await stack.enter_async_context(open_stores(settings))
    adapters: list[ChatAdapter] = platforms(settings, stores)
    opened = open_bot(settings, stores, adapters, role="intake")
    bot = await stack.enter_async_context(opened)
    keep_for_good()
    await adapters[0].run(Counting(bot.inbox))


async def slack_sdk(order: dict[str, Any], stack: AsyncExitStack) -> None:
    from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
    from slack_bolt.async_app import AsyncApp
    from slack_sdk.web.async_client import AsyncWebClient

    settings = order["settings"]
    client = AsyncWebClient(settings["slack.bot_token"], base_url=settings["slack.api_url"])
    app = AsyncApp(client=client)

    @app.event("app_mention")
    async def mentioned(event: dict[str, Any]) -> None:
        handled.add(event["ts"])

    @app.event("message")
    async def said(event: dict[str, Any]) -> None:
        """A mention is told as a message too."""

    handler = AsyncSocketModeHandler(app, settings["slack.app_token"])
    stack.push_async_callback(handler.close_async)
    await handler.connect_async()  # type: ignore[no-untyped-call]
    await asyncio.Event().wait()


async def discord_sdk(order: dict[str, Any], stack: AsyncExitStack) -> None:
    import discord

    from adapters.chat.discord_sdk import point_at

    settings = order["settings"]
    point_at(settings["discord.api_url"], settings["discord.gateway_url"])

    class Client(discord.Client):
        async def on_message(self, message: discord.Message) -> None:
            handled.add(str(message.id))

    intents = discord.Intents.none()
    intents.guilds = intents.guild_messages = intents.message_content = True
    nobody = discord.MemberCacheFlags.none()
    client = Client(
        intents=intents,
        max_messages=None,
        member_cache_flags=nobody,
        chunk_guilds_at_startup=False,
    )
    await client.start(settings["discord.token"])


async def main(order: dict[str, Any]) -> None:
    configure_logs(level="warning", form="json")
    sides = {"product": product, "slack": slack_sdk, "discord": discord_sdk}
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async with AsyncExitStack() as stack:
        listening = asyncio.create_task(sides[order["side"]](order, stack), name="listening")
        async for _ in reader:
            fact = {"events": len(handled), "cpu_s": time.process_time()}
            sys.stdout.write(json.dumps(fact) + "\n")
            sys.stdout.flush()
        listening.cancel()
        await asyncio.wait((listening,))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
