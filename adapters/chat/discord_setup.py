"""What an operator needs to set Discord up: the invite link and a check of the application."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import aiohttp

PERMISSIONS = {
    "View Channels": 1 << 10,
    "Send Messages": 1 << 11,
    "Attach Files": 1 << 15,
    "Read Message History": 1 << 16,
    "Use Application Commands": 1 << 31,
    "Create Public Threads": 1 << 35,  # where a channel's rule asks for them
    "Send Messages in Threads": 1 << 38,
}
MESSAGE_CONTENT = (1 << 18) | (1 << 19)  # GATEWAY_MESSAGE_CONTENT, and its LIMITED form
TIMEOUT = aiohttp.ClientTimeout(total=15)
PORTAL = "https://discord.com/developers/applications"


def invite_url(application_id: str) -> str:
    """The link that adds the bot to a server with the permissions it needs and no others."""
    asked = {
        "client_id": application_id,
        "scope": "bot applications.commands",
        "permissions": str(sum(PERMISSIONS.values())),
    }
    return f"https://discord.com/oauth2/authorize?{urlencode(asked)}"


async def diagnose(*, token: str, api_url: str) -> list[tuple[str, bool, str]]:
    """(check, passed, fix or fact) for `doctor`."""
    url = f"{api_url.rstrip('/')}/oauth2/applications/@me"
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.get(url, headers={"Authorization": f"Bot {token}"}) as answer,
        ):
            if answer.status == 401:
                fix = f"copy a new token from {PORTAL} (page Bot, Reset Token)"
                return [("discord token", False, fix)]
            if answer.status != 200:
                fix = f"Discord answered HTTP {answer.status}; try again later"
                return [("discord token", False, fix)]
            application: dict[str, Any] = await answer.json()
    except (aiohttp.ClientError, OSError, ValueError) as error:
        fix = (
            f"Discord can't be reached ({type(error).__name__}); check network and discord.api_url"
        )
        return [("discord reachable", False, fix)]
    granted = bool(int(application.get("flags", 0)) & MESSAGE_CONTENT)
    portal = f"{PORTAL}/{application['id']}/bot"
    return [
        ("discord token", True, f"invite the bot: {invite_url(str(application['id']))}"),
        (
            "discord message content intent",
            granted,
            "granted" if granted else f"turn on “Message Content Intent” at {portal}",
        ),
    ]
