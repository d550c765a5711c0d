"""What Discord refuses: what passes, what is final, what would end in a ban (rows D3 to D5, D8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.chat.discord import DiscordAdapter
from adapters.chat.discord_breaker import MOST, WINDOW_S, Breaker, Paused
from adapters.chat.discord_errors import EDITED_TOO_OFTEN, ERRORS
from adapters.chat.types import DeliveryError, Message
from bot.testing.discord import DiscordTwin
from tests.adapters.chat.test_discord import RecordingInbox, connected
from tests.adapters.chat.test_discord_changes import running
from tests.contracts.chat import RecordingInbox as HeardInbox
from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure

MESSAGES = r"/channels/\d+/messages$"
ONE_CHANNEL = r"/channels/\d+$"
ONE_MESSAGE = r"/channels/\d+/messages/\d+$"
CLOUDFLARE = "<h1>Error 1015: You are being rate limited</h1>"
PASSING = sorted(code for code, each in ERRORS.items() if each.passes)
FINAL = sorted(code for code, each in ERRORS.items() if not each.passes)


@dataclass(slots=True)
class Asked:
    discord: DiscordTwin
    adapter: DiscordAdapter
    message: Message

    def posts(self) -> int:
        """How often a message was to be posted."""
        calls = self.discord.gate.calls
        return sum(method == "POST" and path.endswith("/messages") for _, method, path in calls)


@asynccontextmanager
async def asked() -> AsyncIterator[Asked]:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        await discord.say(discord.alice, discord.general, "tell me", mention_bot=True)
        await inbox.hears(1)
        yield Asked(discord, adapter, inbox.messages[0])


def refusals(logs: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [each for each in logs if each["event"] == "discord.refused"]


async def failing(scene: Asked) -> DeliveryError:
    reply = scene.adapter.reply(scene.message)
    try:
        with pytest.raises(DeliveryError) as caught:
            await reply.open(None)
    finally:
        await reply.aclose()
    return caught.value


@pytest.mark.parametrize("code", FINAL)
async def test_a_final_code_is_tried_once_and_its_remedy_told_once(code: int) -> None:
    async with asked() as scene:
        scene.discord.refuse("POST", MESSAGES, 403, body={"message": "no", "code": code}, times=2)
        # an archived thread may not be opened again either
        scene.discord.refuse("PATCH", ONE_CHANNEL, 403, body={"code": 50013}, times=2)
        with capture_logs() as logs:
            errors = [await failing(scene) for _ in range(2)]

        assert [each.retryable for each in errors] == [False, False]
        assert scene.posts() == 2
        told = refusals(logs)
        assert len(told) == bool(ERRORS[code].remedy)
        assert all(each["remedy"] == ERRORS[code].remedy for each in told)
        assert ERRORS[code].remedy in str(errors[0])
        assert scene.discord.posted(scene.discord.general) == []


@pytest.mark.parametrize("code", PASSING)
async def test_a_passing_code_may_be_tried_again_and_nobody_is_told(code: int) -> None:
    async with asked() as scene:
        scene.discord.refuse("POST", MESSAGES, 403, body={"message": "later", "code": code})
        with capture_logs() as logs:
            error = await failing(scene)

        assert error.retryable
        assert refusals(logs) == []


@pytest.mark.parametrize(
    "body", ["<h1>Bad Gateway</h1>", {"message": "503: Service Unavailable", "code": 0}]
)
async def test_discords_own_trouble_passes(body: str | dict[str, object]) -> None:
    async with asked() as scene:
        scene.discord.refuse("POST", MESSAGES, 503, body=body)
        assert (await failing(scene)).retryable


@pytest.mark.parametrize("body", ["<h1>Please log in</h1>", "{", ""])
async def test_a_page_or_half_an_answer_in_place_of_a_message_passes(body: str) -> None:
    async with asked() as scene:
        scene.discord.refuse("POST", MESSAGES, 200, body=body or "\n")
        assert (await failing(scene)).retryable


async def test_a_message_too_old_for_edits_makes_room_for_a_new_one() -> None:
    async with asked() as scene:
        reply = scene.adapter.reply(scene.message)
        await reply.open(None)
        body = {"message": "Maximum number of edits", "code": EDITED_TOO_OFTEN}
        scene.discord.refuse("PATCH", ONE_MESSAGE, 400, body=body, times=9)
        await reply.deliver(0, "the answer", token="t0")
        await reply.aclose()

        texts = [each.content for each in scene.discord.posted(scene.discord.general)]
        assert texts[-1] == "the answer"


@pytest.mark.parametrize(
    ("scope", "headers"),
    [
        ("user", {"Retry-After": "1", "X-RateLimit-Scope": "user"}),
        ("shared", {"Retry-After": "1", "X-RateLimit-Scope": "shared"}),
        ("global", {"Retry-After": "1", "X-RateLimit-Global": "true"}),
    ],
)
async def test_every_kind_of_rate_limit_is_waited_out(scope: str, headers: dict[str, str]) -> None:
    async with asked() as scene:
        body = {"message": "limited", "retry_after": 0.4, "global": scope == "global"}
        scene.discord.refuse("POST", MESSAGES, 429, body=body, headers=headers)
        began = asyncio.get_running_loop().time()
        reply = scene.adapter.reply(scene.message)
        await reply.open(None)
        await reply.aclose()

        assert asyncio.get_running_loop().time() - began >= 0.4
        assert scene.posts() == 2


async def test_after_cloudflares_page_nothing_is_called_until_it_says() -> None:
    async with asked() as scene:
        scene.discord.refuse("POST", MESSAGES, 429, body=CLOUDFLARE, headers={"Retry-After": "1"})
        error = await failing(scene)
        calls = len(scene.discord.gate.calls)
        with capture_logs() as logs:
            refused = [await failing(scene) for _ in range(3)]
        assert len(scene.discord.gate.calls) == calls
        assert scene.adapter.warnings["discord"].startswith("Discord refuses every call")
        await asyncio.sleep(1.0)
        reply = scene.adapter.reply(scene.message)
        await reply.open(None)
        await reply.aclose()

        assert all(each.retryable for each in (error, *refused))
        assert [each["event"] for each in logs].count("discord.paused") == 1
        assert scene.adapter.warnings == {}


async def test_no_more_than_five_hundred_calls_are_refused_in_ten_minutes(
    record_figure: RecordFigure,
) -> None:
    now, inbox = [0.0], HeardInbox()
    breaker = Breaker(clock=lambda: now[0])
    async with DiscordTwin() as discord:
        discord.gate.messages_limit = discord.gate.other_limit = (100_000, 1.0)
        async with running(discord, inbox, breaker=breaker) as adapter:
            await discord.say(discord.alice, discord.general, "tell me", mention_bot=True)
            message = await inbox.next()
            body = {"message": "Missing Access", "code": 50001}
            discord.refuse("DELETE", r"/messages/\d+$", 403, body=body, times=100_000)
            for _ in range(60):
                tries = (
                    adapter.remove(message.conversation, [message.event_id]) for _ in range(10)
                )
                await asyncio.gather(*tries, return_exceptions=True)
            sent = discord.gate.refused[403, 50001]
            assert adapter.warnings["discord"].startswith(f"{sent} calls were refused")
            discord.gate.planned.clear()
            now[0] += WINDOW_S + 1
            assert adapter.warnings == {}
            reply = adapter.reply(message)
            await reply.open(None)
            await reply.aclose()

    record_figure(
        row="D3",
        promise="A bot that is refused stops calling before Discord bans its address",
        figure=f"600 calls that are refused in ten minutes: {sent} sent, the others held back",
    )
    assert sent == MOST


def test_the_limit_counts_what_is_on_its_way() -> None:
    breaker = Breaker(most=3, clock=lambda: 0.0)
    for _ in range(3):
        breaker.begin()
    with pytest.raises(Paused):
        breaker.begin()
    breaker.end(200, {})
    breaker.end(404, {})
    breaker.end(429, {"X-RateLimit-Scope": "shared", "Content-Type": "application/json"})
    for _ in range(3):
        breaker.begin()
        breaker.failed()


async def test_a_server_that_removed_the_bot_is_paused_at_once_and_only_that() -> None:
    async with asked() as scene:
        tenant = scene.message.conversation.tenant
        guild = {"id": str(scene.discord.world.guild_id)}
        with capture_logs() as logs:
            await scene.discord.gateway.broadcast("GUILD_DELETE", guild)
            await scene.discord.wait_for(lambda: scene.adapter.paused(tenant))
        assert scene.adapter.paused("discord:1") == ""
        assert [each["event"] for each in logs].count("discord.removed") == 1
        payload = scene.discord.world.guild_payload()
        await scene.discord.gateway.broadcast("GUILD_CREATE", payload)
        await scene.discord.wait_for(lambda: not scene.adapter.paused(tenant))


async def test_a_server_that_is_only_unavailable_is_not_left() -> None:
    async with asked() as scene:
        guild = {"id": str(scene.discord.world.guild_id), "unavailable": True}
        await scene.discord.gateway.broadcast("GUILD_DELETE", guild)
        await asyncio.sleep(0.1)

        assert scene.adapter.paused(scene.message.conversation.tenant) == ""


async def test_a_reply_to_a_thread_that_was_deleted_lands_nowhere_else() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox) as adapter:
        thread = await discord.start_thread(discord.general, discord.alice)
        await discord.say(discord.alice, thread, "now", mention_bot=True)
        await inbox.hears(1)
        reply = adapter.reply(inbox.messages[0])
        await reply.open(None)
        await discord.delete_channel(thread)
        for index in range(2):
            with pytest.raises(DeliveryError) as caught:
                await reply.deliver(index, f"part {index}", token=f"t{index}")
            assert not caught.value.retryable
        await reply.aclose()

        assert discord.posted(discord.general) == []
