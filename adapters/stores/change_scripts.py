"""The Lua scripts by which people change what was accepted: stop, edit, delete, forget.

Keys are given in the order of `Keys.of`. None is fenced: who holds the conversation learns of it
by the turn's `halt`, which the scripts of the turn's life refuse to pass.
"""

from __future__ import annotations

from adapters.stores.batching import Script

# Event ids of a turn are `id:1`, `id:2` …; a group that begins with '!' is a command's.
_RUNNING = """
local function place_in_turn(event)
  local events = tonumber(redis.call('HGET', KEYS[4], 'events') or 0)
  for n = 1, events do
    if redis.call('HGET', KEYS[4], 'id:' .. n) == event then return n, events end
  end
  return 0, events
end
local function is_command()
  return string.sub(redis.call('HGET', KEYS[4], 'group') or '', 1, 1) == '!'
end
"""

_WAITING = """
local function waiting(event)
  for _, member in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    if string.sub(member, 1, #event + 1) == event .. '\\n' then return member end
  end
end
"""

# ARGV event ('': whatever runs), author ('': anybody's)
# 1 when a turn will be stopped, 0 when there is none to stop.
STOP = Script(
    _RUNNING
    + """
local place, events = place_in_turn(ARGV[1])
if events == 0 or (ARGV[1] ~= '' and place == 0) or is_command() then return 0 end
if redis.call('HEXISTS', KEYS[4], 'ending') == 1 then return 0 end
local asked = string.match(redis.call('HGET', KEYS[4], 'group') or '', '^=([^ ]*)')
if ARGV[2] ~= '' and asked ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[4], 'halt', 'stop')
return 1
""",
    completes=True,
)

# ARGV event, record · 2 replaced in the line, 1 the running turn begins anew, 0 too late.
REVISE = Script(
    _RUNNING
    + _WAITING
    + """
local member = waiting(ARGV[1])
if member then
  local head = string.match(member, '^[^\\n]*\\n[^\\n]*\\n')
  local score = redis.call('ZSCORE', KEYS[3], member)
  redis.call('ZREM', KEYS[3], member)
  redis.call('ZADD', KEYS[3], score, head .. ARGV[2])
  return 2
end
local place = place_in_turn(ARGV[1])
if place == 0 or redis.call('HEXISTS', KEYS[4], 'ending') == 1
  or redis.call('HEXISTS', KEYS[4], 'effect') == 1 or is_command() then return 0 end
-- Two processes may hear of the same edit.
if redis.call('HGET', KEYS[4], 'event:' .. place) ~= ARGV[2] then
  redis.call('HSET', KEYS[4], 'event:' .. place, ARGV[2])
  redis.call('HSETNX', KEYS[4], 'halt', 'edit')
end
return 1
"""
)

# KEYS … of the conversation, then closed · ARGV conversation, event, turn
# 2 taken out of the line, 1 the running turn ends (or begins anew without it), 0 too late.
RETRACT = Script(
    _RUNNING
    + _WAITING
    + """
local member = waiting(ARGV[2])
if member then
  redis.call('ZREM', KEYS[3], member)
  redis.call('XADD', KEYS[13], 'MAXLEN', '~', 10000, '*', 'turn', ARGV[3], 'conversation', ARGV[1],
    'state', 'stopped', 'reason', 'deleted')
  return 2
end
local place, events = place_in_turn(ARGV[2])
if place == 0 then return 0 end
local ready = redis.call('HEXISTS', KEYS[4], 'ending') == 1
if events == 1 then
  redis.call('HSET', KEYS[4], 'halt', 'delete')
  return 1
end
if ready then return 0 end
for n = place, events - 1 do
  local after = redis.call('HMGET', KEYS[4], 'event:' .. n + 1, 'id:' .. n + 1)
  redis.call('HSET', KEYS[4], 'event:' .. n, after[1], 'id:' .. n, after[2])
end
redis.call('HDEL', KEYS[4], 'event:' .. events, 'id:' .. events)
redis.call('HSET', KEYS[4], 'events', events - 1, 'halt', 'edit')
return 1
""",
    completes=True,
)

# What was set aside as unreadable (mending.py) goes too.
_FORGET_MEMORY = """
for n = 3, 11 do redis.call('DEL', KEYS[n] .. ':bad') end
redis.call('DEL', KEYS[7], KEYS[11])
redis.call('HDEL', KEYS[9], 'record', 'covers', 'dropped')
redis.call('HINCRBY', KEYS[9], 'epoch', 1)
redis.call('EXPIRE', KEYS[9], ARGV[2])
"""

# KEYS blobs · ARGV[3] how the keys of blobs begin; a member is "turn sha256".
_FORGET_BLOBS = """
for _, member in ipairs(redis.call('ZRANGE', KEYS[0], 0, -1)) do
  redis.call('DEL', ARGV[3] .. string.match(member, '[^ ]*$'))
end
redis.call('DEL', KEYS[0])
"""

# KEYS … of the conversation, then blobs · ARGV conversation, retention_s, start of blobs
# A new conversation begins here; running work goes on.
RESET = Script(
    _FORGET_MEMORY + _FORGET_BLOBS.replace("KEYS[0]", "KEYS[13]") + "return 1", completes=True
)

# KEYS … of the conversation, then closed, dead, blobs
# ARGV conversation, retention_s, start of blobs
# Nothing said before comes back: what runs or waits here ends without an answer.
FORGET = Script(
    _RUNNING
    + _FORGET_MEMORY
    + _FORGET_BLOBS.replace("KEYS[0]", "KEYS[15]")
    + """
redis.call('DEL', KEYS[10])
if redis.call('HEXISTS', KEYS[4], 'events') == 1 and not is_command() then
  redis.call('HSET', KEYS[4], 'halt', 'forget')
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  local event, mark = string.match(member, '^([^\\n]*)\\n(.)')
  if mark ~= '!' then
    redis.call('ZREM', KEYS[3], member)
    redis.call('XADD', KEYS[13], 'MAXLEN', '~', 10000, '*', 'turn', event, 'conversation', ARGV[1],
      'state', 'stopped', 'reason', 'forgotten')
  end
end
for _, field in ipairs(redis.call('HKEYS', KEYS[14])) do
  if string.sub(field, 1, #ARGV[1] + 1) == ARGV[1] .. '\\n' then
    redis.call('HDEL', KEYS[14], field)
  end
end
return 1
""",
    completes=True,
)

# KEYS … of the conversation, then blobs · ARGV retention_s, turn, start of blobs, record…
# Takes a turn's entries and blobs away; a recap made of the memory goes too.
ERASE = Script(
    """
local gone = 0
for n = 4, #ARGV do gone = gone + redis.call('LREM', KEYS[7], 1, ARGV[n]) end
if gone > 0 then
  redis.call('HDEL', KEYS[9], 'record', 'covers')
  redis.call('HINCRBY', KEYS[9], 'epoch', 1)
  redis.call('EXPIRE', KEYS[9], ARGV[1])
end
local used = {}
local members = redis.call('ZRANGE', KEYS[13], 0, -1)
for _, member in ipairs(members) do
  local turn, sha256 = string.match(member, '^(.*) ([^ ]*)$')
  if turn ~= ARGV[2] then used[sha256] = true end
end
for _, member in ipairs(members) do
  local turn, sha256 = string.match(member, '^(.*) ([^ ]*)$')
  if turn == ARGV[2] then
    redis.call('ZREM', KEYS[13], member)
    if not used[sha256] then redis.call('DEL', ARGV[3] .. sha256) end
  end
end
return gone
""",
    completes=True,
)

ALL = (STOP, REVISE, RETRACT, RESET, FORGET, ERASE)
