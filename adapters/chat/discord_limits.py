"""discord.py's bucket of one route, made prompt."""

from __future__ import annotations

from typing import Any

from discord.http import Ratelimit


class PromptRatelimit(Ratelimit):
    """Gives the answer of a bucket's last call back at once.

    discord.py 2.7 holds that answer until the bucket is full again (5 s for messages); here
    the next call waits instead, and a part that arrived is known to have arrived.
    """

    async def __aexit__(self, *error: Any) -> None:
        unknown = self.expires is None  # the answer had no limits in it: nothing to wait for
        if unknown or self._pending_requests or self.remaining - self.outgoing >= 0:
            await super().__aexit__(*error)
        else:
            self.outgoing -= 1

    async def _refresh(self) -> None:
        if self.expires is not None:
            self.reset_after = max(0.0, self.expires - self._loop.time())
        await super()._refresh()
