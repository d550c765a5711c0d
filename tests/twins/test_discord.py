"""The fake is as strict as Discord; driven over plain HTTP and a plain websocket."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from bot.testing.discord import DiscordTwin
from bot.testing.discord.gateway import DIRECT_MESSAGES, GUILD_MESSAGES, GUILDS, MESSAGE_CONTENT


def headers(discord: DiscordTwin) -> dict[str, str]:
    return {"Authorization": f"Bot {discord.token}"}


async def identified(ws: aiohttp.ClientWebSocketResponse, token: str, intents: int) -> None:
    assert (await ws.receive_json())["op"] == 10
    await ws.send_json({"op": 2, "d": {"token": token, "intents": intents, "properties": {}}})
    assert (await ws.receive_json())["t"] == "READY"
    assert (await ws.receive_json())["t"] == "GUILD_CREATE"


async def next_message(ws: aiohttp.ClientWebSocketResponse) -> Any:
    frame = await ws.receive_json()
    assert frame["t"] == "MESSAGE_CREATE"
    return frame["d"]


async def test_text_over_2000_characters_is_refused_and_counted() -> None:
    async with DiscordTwin() as discord, aiohttp.ClientSession(headers=headers(discord)) as http:
        url = f"{discord.api_url}/channels/{discord.general.id}/messages"
        async with http.post(url, json={"content": "x" * 2001}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, 50035)

        assert discord.gate.refused[400, 50035] == 1
        assert discord.messages(discord.general) == []


async def test_the_sixth_call_in_a_channel_is_limited_as_discord_does_it() -> None:
    async with DiscordTwin() as discord, aiohttp.ClientSession(headers=headers(discord)) as http:
        url = f"{discord.api_url}/channels/{discord.general.id}/messages"
        for left in (4, 3, 2, 1, 0):
            async with http.post(url, json={"content": "x"}) as answer:
                assert answer.headers["X-RateLimit-Remaining"] == str(left)
        async with http.post(url, json={"content": "x"}) as answer:
            told = await answer.json()

        assert answer.status == 429
        assert answer.headers["Via"]
        assert answer.headers["Content-Type"] == "application/json"
        assert int(answer.headers["Retry-After"]) >= told["retry_after"] > 4


async def test_a_nonce_is_posted_once() -> None:
    async with DiscordTwin() as discord, aiohttp.ClientSession(headers=headers(discord)) as http:
        url = f"{discord.api_url}/channels/{discord.general.id}/messages"
        for _ in range(2):
            body = {"content": "once", "nonce": "n1", "enforce_nonce": True}
            async with http.post(url, json=body) as answer:
                assert answer.status == 200

        assert discord.messages(discord.general) == ["once"]


async def test_without_the_message_content_intent_only_what_is_meant_for_the_bot_is_readable() -> (
    None
):
    async with DiscordTwin() as discord, aiohttp.ClientSession() as http:
        async with http.ws_connect(discord.gateway_url) as ws:
            await identified(ws, discord.token, GUILDS | GUILD_MESSAGES | DIRECT_MESSAGES)
            await discord.say(discord.alice, discord.general, "hidden")
            await discord.say(discord.alice, discord.general, "shown", mention_bot=True)
            await discord.say(discord.alice, discord.dm, "shown too")
            texts = [(await next_message(ws))["content"] for _ in range(3)]

        assert texts == ["", f"{discord.bot.mention} shown", "shown too"]


async def test_absent_fields_are_omitted_and_never_null() -> None:
    async with DiscordTwin() as discord, aiohttp.ClientSession() as http:
        async with http.ws_connect(discord.gateway_url) as ws:
            await identified(ws, discord.token, GUILDS | DIRECT_MESSAGES | MESSAGE_CONTENT)
            await discord.say(discord.alice, discord.dm, "hello")
            event = await next_message(ws)

        assert not {"guild_id", "member", "thread", "webhook_id"} & event.keys()


async def test_a_zombie_connection_gets_no_heartbeat_ack() -> None:
    async with DiscordTwin() as discord, aiohttp.ClientSession() as http:
        async with http.ws_connect(discord.gateway_url) as ws:
            await identified(ws, discord.token, GUILDS)
            await ws.send_json({"op": 1, "d": 2})
            assert (await ws.receive_json())["op"] == 11
            discord.gateway.withhold_acks = True
            await ws.send_json({"op": 1, "d": 2})
            try:
                async with asyncio.timeout(0.2):
                    raise AssertionError(f"unexpected frame {await ws.receive()}")
            except TimeoutError:
                pass

        assert discord.gateway.counts["heartbeat"] == 2


async def test_a_late_answer_to_a_slash_command_finds_the_token_dead() -> None:
    async with DiscordTwin() as discord, aiohttp.ClientSession() as http:
        discord.world.commands = [{"id": "1", "name": "ask"}]
        asked = await discord.interactions.start(discord.alice, discord.general, "ask", {})
        url = f"{discord.api_url}/interactions/{asked.id}/{asked.token}/callback"
        body = {"type": 4, "data": {"content": "hi", "flags": 64}}
        asked.asked_at -= 4.0
        async with http.post(url, json=body) as answer:
            assert (answer.status, (await answer.json())["code"]) == (404, 10062)
        asked.asked_at += 4.0
        for params, status in (({"with_response": "1"}, 200), ({}, 400)):
            async with http.post(url, json=body, params=params) as answer:
                assert answer.status == status

        assert discord.gate.refused[400, 40060] == 1
