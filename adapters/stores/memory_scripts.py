"""The Lua scripts of the memory's recap: what stands for its oldest entries."""

from __future__ import annotations

from adapters.stores.batching import Script
from adapters.stores.scripts import GOING_ON

# KEYS memory, recap · ARGV limit, from_start
# Returns the recap's fields, and the oldest entries that it does not cover with their index.
UNCOVERED = Script("""
local known = redis.call('HMGET', KEYS[2], 'covers', 'dropped')
local start = math.max(0, (tonumber(known[1]) or 0) - (tonumber(known[2]) or 0))
if ARGV[2] == '1' then start = 0 end
return {redis.call('HGETALL', KEYS[2]), start,
  redis.call('LRANGE', KEYS[1], start, start + ARGV[1] - 1)}
""")

# KEYS memory, recap · ARGV epoch, covers as it was, covers from now on, record, retention_s
# 1 written, 0 when anything was forgotten or compacted since it was read.
RECAP = Script("""
local known = redis.call('HMGET', KEYS[2], 'epoch', 'covers', 'dropped')
if (tonumber(known[1]) or 0) ~= tonumber(ARGV[1])
  or (tonumber(known[2]) or 0) ~= tonumber(ARGV[2])
  or tonumber(ARGV[3]) > (tonumber(known[3]) or 0) + redis.call('LLEN', KEYS[1]) then return 0 end
redis.call('HSET', KEYS[2], 'record', ARGV[4], 'covers', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 1
""")

# KEYS facts · ARGV most, record, retention_s · 1 kept, 0 there are too many.
REMEMBER = Script("""
local kept = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.match(field, '^%d+$') then kept = kept + 1 end
end
if kept >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], redis.call('HINCRBY', KEYS[1], 'next', 1), ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
""")

# KEYS fence, turn, blobs, blob · ARGV fence, retention_s, turn id, sha256, data, media type, label
# Kept only while its turn goes on, so that nothing forgotten is brought back.
KEEP_BLOB = Script(
    GOING_ON.replace("KEYS[2]", "KEYS[1]").replace("KEYS[4]", "KEYS[2]")
    + """
local now = tonumber(redis.call('TIME')[1])
redis.call('HSET', KEYS[4], 'data', ARGV[5], 'media_type', ARGV[6], 'label', ARGV[7])
redis.call('EXPIRE', KEYS[4], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[2])
redis.call('ZADD', KEYS[3], now, ARGV[3] .. ' ' .. ARGV[4])
redis.call('EXPIRE', KEYS[3], ARGV[2])
return 1
"""
)

ALL = (UNCOVERED, RECAP, REMEMBER, KEEP_BLOB)
