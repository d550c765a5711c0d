"""Attachments whose addresses die: fetched late, from a message that may be gone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from urllib.parse import urldefrag

import aiohttp
import pytest

from adapters.chat.discord import DiscordAdapter
from adapters.chat.types import Attachment, AttachmentError
from bot.testing.conversation import Conversation, OnDiscord
from bot.testing.discord import DiscordTwin
from tests.adapters.chat.test_discord import RecordingInbox, connected
from tests.pictures import shapes

A_DAY_AND_MORE_S = 90_000.0
PICTURE = shapes()


@pytest.fixture
async def shared(
    discord_twin: DiscordTwin,
) -> AsyncIterator[tuple[DiscordAdapter, Attachment]]:
    inbox, discord = RecordingInbox(), discord_twin
    async with connected(discord, inbox) as adapter:
        await discord.say(discord.alice, discord.dm, "see", files=[("a b#é.png", PICTURE)])
        await inbox.hears(1)
        yield adapter, inbox.messages[0].attachments[0]


def later(discord: DiscordTwin) -> None:
    discord.world.cdn.clock = lambda: time.time() + A_DAY_AND_MORE_S


async def test_an_address_that_lives_is_fetched_once(
    discord_twin: DiscordTwin, shared: tuple[DiscordAdapter, Attachment]
) -> None:
    adapter, file = shared
    assert await adapter.fetch(file, max_bytes=10**6) == PICTURE
    assert [status for status, _ in discord_twin.world.cdn.fetched] == [200]
    assert not any("/messages/" in path for _, _, path in discord_twin.gate.calls)


async def test_an_address_that_died_is_told_anew_by_its_message(
    discord_twin: DiscordTwin, shared: tuple[DiscordAdapter, Attachment]
) -> None:
    adapter, file = shared
    later(discord_twin)
    assert await adapter.fetch(file, max_bytes=10**6) == PICTURE
    assert [status for status, _ in discord_twin.world.cdn.fetched] == [404, 200]


async def test_a_file_whose_message_was_deleted_is_not_had_any_more(
    discord_twin: DiscordTwin, shared: tuple[DiscordAdapter, Attachment]
) -> None:
    adapter, file = shared
    later(discord_twin)
    [posted] = discord_twin.world.in_channel(discord_twin.dm)
    discord_twin.delete(str(posted.id))
    with pytest.raises(AttachmentError, match="Please attach it again"):
        await adapter.fetch(file, max_bytes=10**6)
    assert [status for status, _ in discord_twin.world.cdn.fetched] == [404]


async def test_an_address_kept_by_an_older_version_dies_as_it_did(
    discord_twin: DiscordTwin, shared: tuple[DiscordAdapter, Attachment]
) -> None:
    adapter, file = shared
    url, said_at = urldefrag(file.locator)
    old = Attachment(file.attachment_id, file.name, file.media_type, file.size_bytes, url)
    assert said_at
    assert await adapter.fetch(old, max_bytes=10**6) == PICTURE
    later(discord_twin)
    with pytest.raises(AttachmentError, match="Please attach it again"):
        await adapter.fetch(old, max_bytes=10**6)


async def test_a_turn_that_starts_a_day_late_still_reads_its_picture(
    discord_conversation: Conversation,
) -> None:
    person = discord_conversation.person
    assert isinstance(person, OnDiscord)
    person.discord.world.cdn.lives_s = -1.0  # dead before the turn begins
    await person.say("What is in the picture?", [("shapes.png", PICTURE)])
    person.discord.world.cdn.lives_s = 86_400.0
    discord_conversation.model.says("A triangle.").says("A triangle and a square.")
    await person.discord.wait_for(lambda: "square" in " ".join(person.replies()), 20)

    assert [status for status, _ in person.discord.world.cdn.fetched] == [404, 200]
    assert any("ImageData" in repr(each) for each in discord_conversation.model.requests)


async def test_the_fake_host_signs_expires_and_refreshes_addresses(
    discord_twin: DiscordTwin,
) -> None:
    discord = discord_twin
    said = await discord.say(discord.alice, discord.general, "see", files=[("x.png", b"12")])
    url = discord.world.message_payload(discord.message(said))["attachments"][0]["url"]
    forged = url.replace("ex=", "ex=f")
    async with aiohttp.ClientSession() as http:
        for there, status in ((url, 200), (forged, 404), (url.partition("?")[0], 404)):
            async with http.get(there) as answer:
                assert answer.status == status
        later(discord)
        async with http.get(url) as answer:
            assert (answer.status, await answer.text()) == (
                404,
                "This content is no longer available.",
            )
        bot = {"Authorization": f"Bot {discord.token}"}
        refresh = f"{discord.api_url}/attachments/refresh-urls"
        async with http.post(refresh, json={"attachment_urls": [url]}, headers=bot) as told:
            [found] = (await told.json())["refreshed_urls"]
        async with http.get(found["refreshed"]) as answer:
            assert await answer.read() == b"12"
        async with http.post(refresh, json={"attachment_urls": [url] * 51}, headers=bot) as told:
            assert told.status == 400
    assert found["original"] == url
