"""The ledger's Lua scripts: every change of a turn is one of these, and atomic.

Keys are given in the order of `ConversationKeys.of`; ARGV[1] of a fenced script is the
holder's fence. A script raises `STALE` when a newer holder exists.
"""

from __future__ import annotations

from adapters.stores.batching import STALE, Script

_NOW = """
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
"""

_FENCED = f"""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return redis.error_reply('{STALE}') end
"""

# KEYS seen, line, due, turn · ARGV conversation, member, score, seen_ttl_s, max_waiting, ring_ms
# Returns 1 accepted, 0 already known, -1 the line is full.
ACCEPT = Script(
    _NOW
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then return -1 end
redis.call('SET', KEYS[1], 1, 'EX', ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
redis.call('ZADD', KEYS[3], 'NX', now_ms() + ARGV[6], ARGV[1])
return 1
"""
)

# KEYS lease, fence, line, turn, steps, outbox, memory, pins, due, pins of the channel
# ARGV owner, lease_ms, conversation, window, grace_ms, pins_ttl_s
# Returns false when held, 0 when idle, else {fence, turn, steps, outbox, memory, pins, pins of the
# channel}.
# A fresh turn takes the oldest waiting event and those of its group right behind it.
CLAIM = Script(
    _NOW
    + """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
if redis.call('HEXISTS', KEYS[4], 'events') == 0 then
  redis.call('DEL', KEYS[4])
  local waiting = redis.call('ZRANGE', KEYS[3], 0, -1)
  if #waiting == 0 then
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[9], ARGV[3])
    return 0
  end
  local group = string.match(waiting[1], '^[^\\n]*')
  local taken = 0
  for _, member in ipairs(waiting) do
    if string.match(member, '^[^\\n]*') ~= group then break end
    taken = taken + 1
    redis.call('HSET', KEYS[4], 'event:' .. taken, string.sub(member, #group + 2))
  end
  redis.call('HSET', KEYS[4], 'events', taken)
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, taken - 1)
end
redis.call('HINCRBY', KEYS[4], 'deaths', 1)
redis.call('EXPIRE', KEYS[8], ARGV[6])
redis.call('EXPIRE', KEYS[10], ARGV[6])
redis.call('ZADD', KEYS[9], now_ms() + ARGV[2] + ARGV[5], ARGV[3])
-- The window's start moves in big steps, so that prompts keep their beginning.
local stored, window = redis.call('LLEN', KEYS[7]), tonumber(ARGV[4])
local start = math.max(0, math.floor((stored - window / 2) / (window / 2)) * (window / 2))
return {redis.call('INCR', KEYS[2]), redis.call('HGETALL', KEYS[4]),
  redis.call('LRANGE', KEYS[5], 0, -1), redis.call('HGETALL', KEYS[6]),
  redis.call('LRANGE', KEYS[7], start, -1), redis.call('HGETALL', KEYS[8]),
  redis.call('HGETALL', KEYS[10])}
"""
)

# ARGV fence, owner, lease_ms, conversation, grace_ms
RENEW = Script(
    _NOW
    + _FENCED
    + """
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[9], now_ms() + ARGV[3] + ARGV[5], ARGV[4])
return 1
"""
)

# ARGV fence, record…
APPEND_STEPS = Script(
    _FENCED
    + """
for n = 2, #ARGV do redis.call('RPUSH', KEYS[5], ARGV[n]) end
return 1
"""
)

# ARGV fence, field, value
NOTE = Script(
    _FENCED
    + """
redis.call('HSET', KEYS[4], ARGV[2], ARGV[3])
return 1
"""
)

# ARGV fence, ending, retention_s, n_parts, part…, turn of memory…
# Runs once: after a crash the outbox is what is left of it, never filled again.
READY = Script(
    _FENCED
    + """
if redis.call('HSETNX', KEYS[4], 'ending', ARGV[2]) == 0 then return 0 end
local parts = tonumber(ARGV[4])
for n = 1, parts do redis.call('HSET', KEYS[6], n - 1, ARGV[4 + n]) end
for n = 5 + parts, #ARGV do redis.call('RPUSH', KEYS[7], ARGV[n]) end
if redis.call('EXISTS', KEYS[7]) == 1 then
  redis.call('EXPIRE', KEYS[7], ARGV[3])
  if redis.call('LLEN', KEYS[7]) > 4000 then redis.call('LTRIM', KEYS[7], -3000, -1) end
end
return 1
""",
    completes=True,
)

# ARGV fence, part
SENT = Script(
    _FENCED + "return redis.call('HDEL', KEYS[6], ARGV[2])",
    completes=True,
)

# KEYS … as CLAIM, then closed · ARGV fence, owner, conversation, turn, state, reason
# Returns 1 when more events wait. The fence moves on, so that nothing late (a renewal, a
# note) brings the closed turn back to life.
CLOSE = Script(
    _NOW
    + _FENCED
    + """
redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], 172800)
redis.call('DEL', KEYS[4], KEYS[5], KEYS[6])
redis.call('XADD', KEYS[10], 'MAXLEN', '~', 10000, '*', 'turn', ARGV[4], 'conversation', ARGV[3],
  'state', ARGV[5], 'reason', ARGV[6])
if redis.call('GET', KEYS[1]) == ARGV[2] then redis.call('DEL', KEYS[1]) end
if redis.call('ZCARD', KEYS[3]) > 0 then
  redis.call('ZADD', KEYS[9], now_ms(), ARGV[3])
  return 1
end
redis.call('ZREM', KEYS[9], ARGV[3])
return 0
""",
    completes=True,
)

# ARGV fence, owner, conversation, later_ms · frees the lease of an unfinished turn.
GIVE_BACK = Script(
    _NOW
    + _FENCED
    + """
redis.call('INCR', KEYS[2])
if redis.call('EXISTS', KEYS[4]) == 1 then redis.call('HINCRBY', KEYS[4], 'deaths', -1) end
if redis.call('GET', KEYS[1]) == ARGV[2] then redis.call('DEL', KEYS[1]) end
redis.call('ZADD', KEYS[9], now_ms() + ARGV[4], ARGV[3])
return 1
""",
    completes=True,
)

# KEYS due · ARGV again_ms, limit · conversations that are due, put off so one sweeper rings.
SWEEP = Script(
    _NOW
    + """
local now = now_ms()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, conversation in ipairs(due) do redis.call('ZADD', KEYS[1], now + ARGV[1], conversation) end
return due
"""
)

# KEYS as CLAIM · ARGV conversation · forgets what the conversation remembers (/reset).
RESET = Script("redis.call('DEL', KEYS[7]) return 1", completes=True)

ALL = (
    ACCEPT,
    CLAIM,
    RENEW,
    APPEND_STEPS,
    NOTE,
    READY,
    SENT,
    CLOSE,
    GIVE_BACK,
    SWEEP,
    RESET,
)
