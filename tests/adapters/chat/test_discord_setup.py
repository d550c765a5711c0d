"""What the doctor and the invite link say of a Discord set-up."""

from __future__ import annotations

from adapters.chat.discord_setup import diagnose, invite_url
from bot.testing.discord import DiscordTwin


async def test_doctor_tells_token_and_intent_with_one_fix_each() -> None:
    async with DiscordTwin() as discord:
        good = await diagnose(token=discord.token, api_url=discord.api_url)
        wrong = await diagnose(token="wrong", api_url=discord.api_url)
        discord.rest.flags = 0
        blind = await diagnose(token=discord.token, api_url=discord.api_url)
    away = await diagnose(token="t", api_url="http://127.0.0.1:1/api/v10")

    assert [passed for _, passed, _ in good] == [True, True]
    assert [(name, passed) for name, passed, _ in wrong] == [("discord token", False)]
    assert not blind[1][1]
    assert "Message Content Intent" in blind[1][2]
    assert not away[0][1]


def test_the_invite_link_asks_for_the_needed_permissions_only() -> None:
    url = invite_url("42")

    assert "client_id=42" in url
    assert "scope=bot+applications.commands" in url
    assert "permissions=311385230336" in url
