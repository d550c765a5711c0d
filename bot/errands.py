"""What the bot does unasked, put together: reminders, calls for a person, leaving a workspace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from adapters.stores.retention import TenantPurge
from bot.channels import zone_of
from bot.hand_overs import HandOvers
from bot.leaving import Leaving
from bot.line import Line
from bot.reminders import Reminders
from bot.settings import Settings
from bot.stores import Stores


class Errands:
    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        line: Line,
        *,
        has_left: Callable[[str, str], bool],
        clock: Callable[[], float],
    ) -> None:
        self.zone_of = zone_of(settings.channels, settings.channel_defaults)
        self.reminders = Reminders(
            stores.reminders, stores.ledger, line, zone_of=self.zone_of, clock=clock
        )
        self.hand_overs = HandOvers(
            stores.hand_overs,
            stores.ledger,
            stores.changes,
            stores.memory,
            line,
            settings.hand_over.channels,
            clock=clock,
        )
        self._leaving = Leaving(
            stores.leaving,
            stores.ledger,
            stores.changes,
            TenantPurge(stores.redis, stores.batcher, stores.keys),
            has_left=has_left,
            clock=clock,
        )

    def begin(self, group: asyncio.TaskGroup, adapters: Sequence[str]) -> list[asyncio.Task[None]]:
        """The loops that look for what is due, until they are cancelled."""
        return [
            group.create_task(self.reminders.run(), name="reminders"),
            group.create_task(self._leaving.run(adapters), name="leaving"),
        ]
