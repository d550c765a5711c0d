"""What one process of the bot does, so that intake and workers scale apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bot.settings import Settings

# `intake` listens and stores, `worker` answers, `all` does both.
ProcessRole = Literal["all", "intake", "worker"]


class RoleRefused(Exception):
    """The role can't be had with these settings; names the setting that is missing."""


def check_role(settings: Settings, role: ProcessRole) -> None:
    """Raises `RoleRefused` when a process of this role would serve nobody."""
    if role == "all":
        return
    if settings.redis.url is None:
        raise RoleRefused(
            f"--role {role} shares its work with other processes and needs one Redis for all "
            "of them: set REDIS_URL (the embedded server belongs to --role all)"
        )
    if not settings.has_platform:
        raise RoleRefused(
            f"--role {role} needs a platform: set the tokens of Slack, Discord or Mattermost "
            "(the terminal and the page belong to --role all)"
        )
