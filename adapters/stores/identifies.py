"""The gateway sessions that were begun in the last 24 hours, kept across restarts (row C10)."""

from __future__ import annotations

import structlog

from adapters.stores.batching import Batcher, Script
from adapters.stores.errors import StoreUnavailable
from adapters.stores.keys import Keys
from adapters.stores.scripts import NOW

log = structlog.get_logger(__name__)

_DAY_MS = 24 * 3600 * 1000
_LANE_MS = 5_000  # Discord takes one IDENTIFY per lane in 5 s
_STORE_AWAY_S = 5.0  # nothing could be accepted anyway

# KEYS begun · ARGV most, day_ms, lane (or empty), lane_ms
# 0 when one more may be begun, else the ms to wait. The newest 256 hold those of every lane.
TAKE = Script(
    NOW
    + """
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return math.max(1, oldest[2] + ARGV[2] - now)
end
if ARGV[3] ~= '' then
  local newest = redis.call('ZRANGE', KEYS[1], -256, -1, 'WITHSCORES')
  for n = #newest - 1, 1, -2 do
    local free_at = newest[n + 1] + ARGV[4]
    if free_at <= now then break end
    if string.match(newest[n], ':(%d+)$') == ARGV[3] and string.find(newest[n], ':.*:') then
      return math.max(1, free_at - now)
    end
  end
end
local same = redis.call('ZCOUNT', KEYS[1], now, now)
local lane = ARGV[3] == '' and '' or ':' .. ARGV[3]
redis.call('ZADD', KEYS[1], now, now .. ':' .. same .. lane)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 0
"""
)


class RedisIdentifies:
    """Implements the chat adapters' `IdentifyBudget` for every process on one Redis."""

    def __init__(self, batcher: Batcher, keys: Keys, *, adapter: str, per_day: int) -> None:
        self._batcher, self._name, self._per_day = batcher, keys.identifies(adapter), per_day

    async def take(self, *, lane: int | None = None) -> float:
        asked: list[str | int] = [
            self._per_day,
            _DAY_MS,
            "" if lane is None else str(lane),
            _LANE_MS,
        ]
        try:
            wait_ms = await self._batcher.run(TAKE, [self._name], asked)
        except StoreUnavailable as error:
            log.warning("identifies.store_down", error=str(error))
            return _STORE_AWAY_S
        return int(wait_ms) / 1000
