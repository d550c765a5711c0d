"""Who may talk where, and who may use which tool: as the settings files say it now.

An operator's edit holds within seconds, also for what waits for a press (reliability row K3); a
file that can't be read changes nothing, and says so once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from adapters.chat.types import Author
from bot.admission import ANYONE, AccessList, Admitted, Gate
from bot.settings import Settings, SettingsError
from bot.tool_sections import GrantSection
from tools.identity import ConversationKey, Place, Principal

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 2.0


class Access:
    """The gate, and the operator's grants beside what a tool declares."""

    def __init__(self, settings: Settings) -> None:
        self.gate = Gate(access_lists(settings))
        self._grants: Mapping[str, GrantSection] = settings.tools.grants

    def take(self, settings: Settings) -> None:
        """What these settings say of access holds from now on."""
        self.gate.replace(access_lists(settings))
        self._grants = settings.tools.grants

    def granted(self, tool: str, principal: Principal, place: Place) -> bool:
        """Whether the operator's grant of this tool, if there is one, names both."""
        grant = self._grants.get(tool)
        if grant is None:
            return True
        here = place.kind == "dm" or _named(grant.channels, place.channel)
        return here and _named(grant.users, principal.user_id)

    def approvers(self, tools: Iterable[str]) -> frozenset[str] | None:
        """Who may agree to calls of these tools; None: whoever asked."""
        grants = (self._grants.get(tool) for tool in tools)
        lists = [
            frozenset(each.approvers) for each in grants if each and each.approvers is not None
        ]
        return frozenset.intersection(*lists) if lists else None

    def admits(self, key: ConversationKey, author: Author) -> bool:
        return isinstance(self.gate.admit(key, author), Admitted)


class Source(NamedTuple):
    """Where the settings come from."""

    files: Sequence[Path]
    load: Callable[[], Settings]


class Reread:
    """Reads the settings again whenever a file of theirs has changed."""

    def __init__(
        self,
        source: Source,
        take: Callable[[Settings], None],
        *,
        every_s: float = _LOOK_EVERY_S,
    ) -> None:
        self._source, self._take, self._every_s = source, take, every_s
        self._seen = self._stamps()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.look()

    async def look(self) -> None:
        stamps = await asyncio.to_thread(self._stamps)
        if stamps == self._seen:
            return
        self._seen = stamps
        try:
            settings = await asyncio.to_thread(self._source.load)
        except (SettingsError, OSError, UnicodeError) as error:
            log.error("access.not_reread", error=str(error), remedy="what held before still does")
            return
        self._take(settings)
        log.info("access.reread")

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        return tuple(map(_stamp, self._source.files))


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0)
    return found.st_mtime_ns, found.st_size


def _named(allowed: Sequence[str] | None, wanted: str) -> bool:
    """No list: not limited by it; an empty one: nobody."""
    return allowed is None or wanted in allowed or ANYONE in allowed


def access_lists(settings: Settings) -> dict[str, AccessList]:
    slack, discord = settings.slack.allow, settings.discord.allow
    return {
        "slack": AccessList(
            workspaces=frozenset(slack.workspaces),
            channels=frozenset(slack.channels),
            users=frozenset(slack.users),
            guests=slack.guests,
            external=slack.external,
        ),
        "discord": AccessList(
            workspaces=frozenset(discord.guilds),
            channels=frozenset(discord.channels),
            users=frozenset(discord.users),
        ),
        "mattermost": settings.mattermost.allow.access(),
    }
