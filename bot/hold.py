"""A worker's hold on a conversation, and what it knows of it without asking anybody."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from adapters.stores.ledger import Claim, Ledger
from tools.identity import ConversationKey

_SURE_OF = 0.9  # of a lease: what is sent at its end still has its way to go


def awake_or_not() -> float:
    """Seconds that pass while a process is frozen, and while its machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)  # Linux; elsewhere the next best
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Hold:
    """A claim, and until when its lease lasts for certain.

    The lease began when the store answered the claim or its last renewal, so after the call was
    made: counted from there it never seems to last longer than it does. A process that was
    frozen past its lease knows so at once, though the store may be away (row A5).
    """

    def __init__(
        self,
        claim: Claim,
        ledger: Ledger,
        *,
        lease_s: float,
        since: float,
        clock: Callable[[], float] = awake_or_not,
    ) -> None:
        self.claim, self._ledger, self._clock = claim, ledger, clock
        self._sure_s, self._since = _SURE_OF * lease_s, since
        self._is_over = False

    @classmethod
    async def take(
        cls,
        ledger: Ledger,
        key: ConversationKey,
        *,
        lease_s: float,
        clock: Callable[[], float] = awake_or_not,
    ) -> Hold | None:
        """None when nothing waits, or another has it."""
        since = clock()
        claim = await ledger.claim(key, owner=secrets.token_hex(8))
        if claim is None:
            return None
        return cls(claim, ledger, lease_s=lease_s, since=since, clock=clock)

    def lasts(self) -> bool:
        return not self._is_over and self._clock() - self._since < self._sure_s

    async def renew(self) -> None:
        """Raises `StaleLease` when another has it, `StoreUnavailable` when nobody can tell."""
        since = self._clock()
        await self._ledger.renew(self.claim.lease)
        self._since = since

    def end(self) -> None:
        """It was lost or is given back: nothing of its reply may be shown from here on."""
        self._is_over = True
