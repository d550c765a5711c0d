"""Into the ledger, then the doorbell: the only way in which an event becomes work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

import structlog

from adapters.stores.doorbell import Doorbell
from adapters.stores.errors import StoreUnavailable
from adapters.stores.ledger import Acceptance, Ledger
from bot.records import Event, encode

log = structlog.get_logger(__name__)


class Line:
    """Stores events. Raises `StoreUnavailable` for what is not stored; a ring may be lost."""

    def __init__(self, ledger: Ledger, bells: Mapping[str, Doorbell], *, max_waiting: int) -> None:
        self._ledger, self._bells, self._max_waiting = ledger, bells, max_waiting
        self._tenants: set[tuple[str, str]] = set()

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(self._bells)

    def serves(self, adapter: str) -> bool:
        """Whether this bot has that platform."""
        return adapter in self._bells

    async def put(
        self, event: Event, *, is_heard: bool = True, is_command: bool = False
    ) -> Acceptance:
        """What is put again is known. `is_heard`: a platform said it, so its mark moves."""
        message = event.message
        key, adapter, author = message.conversation, message.adapter, message.author.user_id
        # A command, and what is done for another turn, is a turn of its own.
        alone = is_command or event.replaces or event.erases or event.pressed or event.says
        mark = "!" if is_command or event.erases or event.says else "="
        if (adapter, key.tenant) not in self._tenants:
            await self._ledger.serve_tenant(adapter, key.tenant)
            self._tenants.add((adapter, key.tenant))
        storing = self._ledger.accept(
            key,
            event_id=message.event_id,
            group=f"{mark}{author} {message.event_id}" if alone else f"={author}",
            record=encode(event),
            sent_at=message.sent_at,
            max_waiting=self._max_waiting,
            author=author,
            is_heard=is_heard,
        )
        return await self._with_ring(adapter, str(key), storing)

    async def _with_ring(
        self, adapter: str, conversation: str, storing: Awaitable[Acceptance]
    ) -> Acceptance:
        bell = self._bells[adapter]
        if bell.is_in_step:  # a task of its own: its turn comes when the event is on its way
            ringing = asyncio.create_task(bell.ring(conversation), name="ring")
            ringing.add_done_callback(lambda done: done.cancelled() or done.exception())
            try:
                accepted = await storing
                await ringing
            finally:
                ringing.cancel()  # nothing, once it is done
            return accepted
        accepted = await storing
        try:
            await bell.ring(conversation)
        except StoreUnavailable as error:  # what is stored is found without it, only later
            log.warning("inbox.bell_down", adapter=adapter, error=str(error))
        return accepted
