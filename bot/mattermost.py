"""Mattermost's settings block, and what the bot makes of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from bot.admission import AccessList
from bot.sections import Names, Secret, Section, Url, fault, ids

if TYPE_CHECKING:
    from adapters.chat.mattermost import MattermostAdapter
    from adapters.chat.types import ChannelRules

Ids = Annotated[Names, ids(r"[a-z0-9]{26}", "8o5kwcbcxjgg8eqyt4ubr1hwfr")]
_DIAGNOSED_WITHIN_S = 10.0


class MattermostAllow(Section):
    """Direct messages belong to the first team the bot joined."""

    teams: Ids = ()
    channels: Ids = ()
    users: Ids = ()
    guests: bool = False

    def access(self) -> AccessList:
        return AccessList(
            workspaces=frozenset(self.teams),
            channels=frozenset(self.channels),
            users=frozenset(self.users),
            guests=self.guests,
        )


class MattermostSection(Section):
    url: Url | None = None  # of the server
    token: Secret | None = None  # of a bot account
    calls_per_s: int = Field(default=10, ge=2, le=10_000)
    allow: MattermostAllow = MattermostAllow()

    @model_validator(mode="after")
    def _both_or_none(self) -> MattermostSection:
        if self.token is not None and self.url is None:
            raise fault("url", "is needed too: where the Mattermost server is")
        return self

    @property
    def enabled(self) -> bool:
        return self.token is not None


def open_adapter(section: MattermostSection, rules: ChannelRules) -> MattermostAdapter:
    """The adapter of an enabled section."""
    from adapters.chat.mattermost import MattermostAdapter

    if section.url is None or section.token is None:
        raise ValueError("mattermost is off: set mattermost.url and mattermost.token")
    return MattermostAdapter(
        url=section.url,
        token=section.token.get_secret_value(),
        calls_per_s=section.calls_per_s,
        rules=rules,
    )


async def diagnose(section: MattermostSection) -> tuple[str, bool, str]:
    """(check, passed, what to do or what was found)."""
    if section.url is None or section.token is None:
        return "mattermost", True, "off (no token set)"
    from adapters.chat.mattermost_api import MattermostApi, MattermostError
    from adapters.chat.types import DeliveryError

    token = section.token.get_secret_value()
    try:
        async with (
            asyncio.timeout(_DIAGNOSED_WITHIN_S),
            MattermostApi(url=section.url, token=token, calls_per_s=2) as api,
        ):
            me = await api.call("GET", "users/me")
    except MattermostError as error:
        if error.status in (401, 403):
            return "mattermost", False, "set mattermost.token to the token of a bot account"
        return "mattermost", False, f"check mattermost.url and the network ({error})"
    except (DeliveryError, TimeoutError):
        return "mattermost", False, "no answer: check mattermost.url and the network"
    return "mattermost", True, "fine" if me.get("is_bot") else "fine, though not a bot account"
