"""The doorbell: says "look at conversation K", and nothing else.

Ringing twice is harmless, rings may come in any order, and a lost one is repaired by the
sweeper over the ledger's due turns: no queue's promise carries the product.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Ring(msgspec.Struct, frozen=True):
    """A ring that this process took; `entry_id` and `shard` are the doorbell's own."""

    entry_id: str
    conversation: str
    shard: int = 0


class Doorbell(Protocol):
    """The rings of one chat adapter, shared by every process that serves it.

    A ring that was taken and neither renewed nor finished for the idle time goes to another
    process, so a dead worker's rings are not lost. All methods but `aclose` raise
    `StoreUnavailable`.
    """

    @property
    def is_in_step(self) -> bool:
        """Whether a ring issued right after a change of the ledger is heard after it.

        Then both may travel together; else the change must be waited for first.
        """

    async def open(self) -> None:
        """Be ready to take; a second call changes nothing. `ring` works without it."""

    async def ring(self, conversation: str) -> None: ...

    async def take(self, *, limit: int = 64, wait_ms: int) -> list[Ring]:
        """At most `limit` rings, for this process alone; empty after `wait_ms` without one."""

    async def renew(self, ring: Ring) -> None:
        """Begin the ring's idle time anew, if it is still this process's."""

    async def done(self, ring: Ring) -> None:
        """Nobody gets this ring again."""

    async def give_back(self, ring: Ring) -> None:
        """Another process gets it at once; unless it was finished elsewhere."""

    async def aclose(self) -> None:
        """Leave; what was taken and not finished goes to the others at once."""
