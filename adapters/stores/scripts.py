"""The Lua scripts of a turn's life: every change of it is one of these, and atomic.

Keys are given in the order of `Keys.of`; ARGV[1] of a fenced script is the holder's fence. A
script raises `STALE` when a newer holder exists, and `HALTED` when the turn may not go on.
"""

from __future__ import annotations

from adapters.stores.batching import HALTED, STALE, Script

NOW = """
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
"""

_FENCED = f"""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return redis.error_reply('{STALE}') end
"""

GOING_ON = (
    _FENCED
    + f"""
local halt = redis.call('HGET', KEYS[4], 'halt')
if halt then return redis.error_reply('{HALTED} ' .. halt) end
"""
)

# KEYS seen, line, due, marks
# ARGV conversation, member, score, seen_ttl_s, max_waiting, ring_ms, channel ('': no mark), author
# Returns 1 accepted, 0 already known, -1 the line is full.
ACCEPT = Script(
    NOW
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then return -1 end
redis.call('SET', KEYS[1], ARGV[8] .. '\\n' .. ARGV[1], 'EX', ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
redis.call('ZADD', KEYS[3], 'NX', now_ms() + ARGV[6], ARGV[1])
if ARGV[7] ~= '' then
  for _, name in ipairs({ARGV[7], ''}) do
    local was = tonumber(redis.call('HGET', KEYS[4], name) or 0)
    if tonumber(ARGV[3]) > was then redis.call('HSET', KEYS[4], name, ARGV[3]) end
  end
end
return 1
"""
)

# KEYS … of the conversation, then pins of the channel
# ARGV owner, lease_ms, conversation, window, grace_ms, pins_ttl_s, start of people's facts
# Returns false when held, 0 when idle, else {fence, now_ms, turn, steps, outbox, memory, recap,
# pins, pins of the channel, facts}. A member of the line is "event id \\n group \\n record"; the
# group of a person's own words is "=" and the person.
# A fresh turn takes the oldest waiting event and those of its group right behind it; an edited
# one begins anew.
CLAIM = Script(
    NOW
    + """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  if redis.call('PTTL', KEYS[1]) ~= -1 then return false end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])  -- no lease of ours: it would never end
end
if redis.call('HEXISTS', KEYS[4], 'events') == 0 then
  redis.call('DEL', KEYS[4])
  local waiting = redis.call('ZRANGE', KEYS[3], 0, -1)
  if #waiting == 0 then
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[12], ARGV[3])
    return 0
  end
  local first
  local taken = 0
  for _, member in ipairs(waiting) do
    local id, group, at = string.match(member, '^([^\\n]*)\\n([^\\n]*)\\n()')
    first = first or group
    if group ~= first then break end
    taken = taken + 1
    redis.call('HSET', KEYS[4], 'event:' .. taken, string.sub(member, at), 'id:' .. taken, id)
  end
  redis.call('HSET', KEYS[4], 'events', taken, 'group', first)
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, taken - 1)
end
if redis.call('HGET', KEYS[4], 'halt') == 'edit' then
  redis.call('HDEL', KEYS[4], 'halt')
  redis.call('DEL', KEYS[5])
end
redis.call('HINCRBY', KEYS[4], 'deaths', 1)
redis.call('EXPIRE', KEYS[8], ARGV[6])
redis.call('EXPIRE', KEYS[13], ARGV[6])
local person = string.match(redis.call('HGET', KEYS[4], 'group') or '', '^.([^ ]*)') or ''
local facts = ARGV[7] .. #person .. ':' .. person
local known = redis.pcall('HGETALL', facts)  -- a damaged one costs nobody a turn
redis.call('EXPIRE', facts, ARGV[6])
local now = now_ms()
redis.call('ZADD', KEYS[12], now + ARGV[2] + ARGV[5], ARGV[3])
-- The window's start moves in big steps, so that prompts keep their beginning; it is counted
-- from where the recap ends.
local window, covered = tonumber(ARGV[4]), redis.call('HMGET', KEYS[9], 'covers', 'dropped')
local start = math.max(0, (tonumber(covered[1]) or 0) - (tonumber(covered[2]) or 0))
local open = redis.call('LLEN', KEYS[7]) - start
start = start + math.max(0, math.floor((open - window / 2) / (window / 2)) * (window / 2))
return {redis.call('INCR', KEYS[2]), now, redis.call('HGETALL', KEYS[4]),
  redis.call('LRANGE', KEYS[5], 0, -1), redis.call('HGETALL', KEYS[6]),
  redis.call('LRANGE', KEYS[7], start, -1), redis.call('HGETALL', KEYS[9]),
  redis.call('HGETALL', KEYS[8]), redis.call('HGETALL', KEYS[13]), known.err and {} or known}
"""
)

# ARGV fence, owner, lease_ms, conversation, grace_ms
RENEW = Script(
    NOW
    + _FENCED
    + """
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[12], now_ms() + ARGV[3] + ARGV[5], ARGV[4])
return 1
"""
)

# ARGV fence, has_effect, record… · a turn with an effect is not begun anew by an edit.
APPEND_STEPS = Script(
    GOING_ON
    + """
for n = 3, #ARGV do redis.call('RPUSH', KEYS[5], ARGV[n]) end
if ARGV[2] == '1' then redis.call('HSET', KEYS[4], 'effect', 1) end
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

# ARGV fence, ending, despite (a kind of halt), retention_s, n_parts, part…, turn of memory…
# Runs once: after a crash the outbox is what is left of it, never filled again. The first part
# is sent right after it, so its try is noted here (P8).
READY = Script(
    NOW
    + GOING_ON.replace("if halt then", "if halt and halt ~= ARGV[3] then")
    + """
if redis.call('HSETNX', KEYS[4], 'ending', ARGV[2]) == 0 then return 0 end
redis.call('HSET', KEYS[4], 'try:0', now_ms())
local parts = tonumber(ARGV[5])
for n = 1, parts do redis.call('HSET', KEYS[6], n - 1, ARGV[5 + n]) end
for n = 6 + parts, #ARGV do redis.call('RPUSH', KEYS[7], ARGV[n]) end
local stored = redis.call('LLEN', KEYS[7])
if stored > 4000 then
  redis.call('LTRIM', KEYS[7], -3000, -1)
  redis.call('HINCRBY', KEYS[9], 'dropped', stored - 3000)
end
redis.call('EXPIRE', KEYS[7], ARGV[4])
redis.call('EXPIRE', KEYS[9], ARGV[4])
return 1
""",
    completes=True,
)

# ARGV fence, part, message id, next part ('': none) · P9 of one part, and P8 of the next.
SENT = Script(
    NOW
    + _FENCED
    + """
redis.call('HDEL', KEYS[6], ARGV[2])
redis.call('HSET', KEYS[4], 'sent:' .. ARGV[2], ARGV[3])
"""
    + GOING_ON.replace(_FENCED, "").replace("if halt then", "if halt and halt ~= 'stop' then")
    + """
if ARGV[4] ~= '' then redis.call('HSETNX', KEYS[4], 'try:' .. ARGV[4], now_ms()) end
return 1
""",
    completes=True,
)

# KEYS … of the conversation, then closed, dead
# ARGV fence, owner, conversation, turn, state, reason, retention_s, answer, last, dead, id…
# An answer is kept under the turn's id and each `id`.
# Returns 1 when more events wait. The fence moves on, so that nothing late (a renewal, a
# note) brings the closed turn back to life. What a damaged key can refuse comes first.
# Of a turn that was forgotten meanwhile, nothing is kept.
CLOSE = Script(
    NOW
    + _FENCED
    + """
local halt = redis.call('HGET', KEYS[4], 'halt')
if halt == 'delete' and ARGV[6] ~= 'deleted' then return redis.error_reply('HALTED delete') end
if halt == 'forget' then ARGV[8], ARGV[9], ARGV[10] = '', '', '' end
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[10], ARGV[4], ARGV[8])
  for n = 11, #ARGV do redis.call('HSET', KEYS[10], ARGV[n], ARGV[8]) end
  redis.call('EXPIRE', KEYS[10], ARGV[7])
end
if ARGV[9] ~= '' then redis.call('SET', KEYS[11], ARGV[9], 'EX', ARGV[7]) end
if ARGV[10] ~= '' then redis.call('HSET', KEYS[14], ARGV[3] .. '\\n' .. ARGV[4], ARGV[10]) end
redis.call('XADD', KEYS[13], 'MAXLEN', '~', 10000, '*', 'turn', ARGV[4], 'conversation', ARGV[3],
  'state', ARGV[5], 'reason', ARGV[6])
redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], 172800)
redis.call('DEL', KEYS[4], KEYS[5], KEYS[6])
if redis.call('GET', KEYS[1]) == ARGV[2] then redis.call('DEL', KEYS[1]) end
if redis.call('ZCARD', KEYS[3]) > 0 then
  redis.call('ZADD', KEYS[12], now_ms(), ARGV[3])
  return 1
end
redis.call('ZREM', KEYS[12], ARGV[3])
return 0
""",
    completes=True,
)

# ARGV fence, owner, conversation, later_ms · frees the lease of an unfinished turn.
GIVE_BACK = Script(
    NOW
    + _FENCED
    + """
redis.call('INCR', KEYS[2])
if redis.call('EXISTS', KEYS[4]) == 1 then redis.call('HINCRBY', KEYS[4], 'deaths', -1) end
if redis.call('GET', KEYS[1]) == ARGV[2] then redis.call('DEL', KEYS[1]) end
redis.call('ZADD', KEYS[12], now_ms() + ARGV[4], ARGV[3])
return 1
""",
    completes=True,
)

# KEYS due · ARGV again_ms, limit · conversations that are due, put off so one sweeper rings.
SWEEP = Script(
    NOW
    + """
local now = now_ms()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, conversation in ipairs(due) do redis.call('ZADD', KEYS[1], now + ARGV[1], conversation) end
return due
"""
)

ALL = (ACCEPT, CLAIM, RENEW, APPEND_STEPS, NOTE, READY, SENT, CLOSE, GIVE_BACK, SWEEP)
