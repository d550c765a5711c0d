"""The Lua scripts of the memory's recap: what stands for its oldest entries."""

from __future__ import annotations

from adapters.stores.batching import Script

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

ALL = (UNCOVERED, RECAP)
