"""The gateway sessions that were begun in the last 24 hours, kept across restarts (row C10)."""

from __future__ import annotations

import structlog

from adapters.stores.batching import Batcher, Script
from adapters.stores.errors import StoreUnavailable
from adapters.stores.keys import Keys
from adapters.stores.scripts import NOW

log = structlog.get_logger(__name__)

_DAY_MS = 24 * 3600 * 1000
_STORE_AWAY_S = 5.0  # nothing could be accepted anyway

# KEYS begun · ARGV most, day_ms · 0 when one more may be begun, else the ms to wait.
TAKE = Script(
    NOW
    + """
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return math.max(1, oldest[2] + ARGV[2] - now)
end
local same = redis.call('ZCOUNT', KEYS[1], now, now)
redis.call('ZADD', KEYS[1], now, now .. ':' .. same)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 0
"""
)


class RedisIdentifies:
    """Implements the chat adapters' `IdentifyBudget` for every process on one Redis."""

    def __init__(self, batcher: Batcher, keys: Keys, *, adapter: str, per_day: int) -> None:
        self._batcher, self._name, self._per_day = batcher, keys.identifies(adapter), per_day

    async def take(self) -> float:
        try:
            wait_ms = await self._batcher.run(TAKE, [self._name], [self._per_day, _DAY_MS])
        except StoreUnavailable as error:
            log.warning("identifies.store_down", error=str(error))
            return _STORE_AWAY_S
        return int(wait_ms) / 1000
