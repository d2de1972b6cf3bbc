"""The scripts of the join rows. Each is atomic: it adds first and reads afterwards.

Under the base key: ``sides`` and ``responses`` hold the rows by id, ``prompts`` and ``waiting``
order them by log time, ``of:<prompt>`` are the responses of a prompt, ``due`` those that have not
met it, ``orphans`` those with the orphan fact. An orphan whose writes are not confirmed stands in
``unconfirmed`` (by the end of its lease, on the server's clock), in ``run:<run>`` of who answered
it (by mark) and in ``announcer``; ``runs:<member>`` are the runs of one member.
"""

from __future__ import annotations

from sinks.redis.server import Script

_COMMON = """
local base = KEYS[1]
local sides, responses = base .. 'sides', base .. 'responses'
local prompts, waiting, due = base .. 'prompts', base .. 'waiting', base .. 'due'
local orphans, unconfirmed = base .. 'orphans', base .. 'unconfirmed'
local announcer = base .. 'announcer'

local function of(packed)
  local length = struct.unpack('>I4', packed, 9)
  return base .. 'of:' .. string.sub(packed, 13, 12 + length)
end

local function settle(id)
  local run = redis.call('HGET', announcer, id)
  if run then
    redis.call('HDEL', announcer, id)
    redis.call('ZREM', base .. 'run:' .. run, id)
    redis.call('ZREM', unconfirmed, id)
  end
end

local function oldest(key, floor, limit, count)
  local found = redis.call('ZRANGEBYSCORE', key, '-inf', '(' .. floor, 'LIMIT', 0, count)
  local excess = redis.call('ZCARD', key) - limit
  if #found < excess then
    found = redis.call('ZRANGE', key, 0, math.min(excess, count) - 1)
  end
  return found
end

local function sweep(floor, limit, count)
  for _, id in ipairs(oldest(prompts, floor, limit, count)) do
    redis.call('HDEL', sides, id)
    redis.call('ZREM', prompts, id)
  end
  for _, id in ipairs(oldest(waiting, floor, limit, count)) do
    if not redis.call('ZSCORE', unconfirmed, id) then
      local packed = redis.call('HGET', responses, id)
      if packed then
        redis.call('SREM', of(packed), id)
        redis.call('HDEL', responses, id)
      end
      redis.call('ZREM', waiting, id)
      redis.call('ZREM', due, id)
      redis.call('SREM', orphans, id)
    end
  end
end
"""

ADD_PROMPTS = Script(
    _COMMON
    + """
local answers = {}
sweep(ARGV[1], tonumber(ARGV[2]), #ARGV)
for i = 3, #ARGV, 3 do
  local id, value = ARGV[i], ARGV[i + 2]
  local held = redis.call('HGET', sides, id)
  if not held or string.sub(value, 1, 1) >= string.sub(held, 1, 1) then
    redis.call('HSET', sides, id, value)
  end
  redis.call('ZADD', prompts, 'NX', ARGV[i + 1], id)
  local met = {}
  for _, response in ipairs(redis.call('SMEMBERS', base .. 'of:' .. id)) do
    met[#met + 1] = response
    met[#met + 1] = redis.call('HGET', responses, response)
    met[#met + 1] = redis.call('SISMEMBER', orphans, response)
    redis.call('ZREM', due, response)
    settle(response)
  end
  answers[#answers + 1] = met
end
return answers
"""
)

LOOK = Script(
    _COMMON
    + """
local answers = {}
sweep(ARGV[1], tonumber(ARGV[2]), #ARGV)
for i = 3, #ARGV, 2 do
  answers[i - 2] = redis.call('HGET', sides, ARGV[i])
  answers[i - 1] = redis.call('SISMEMBER', orphans, ARGV[i + 1])
end
return answers
"""
)

ADD_RESPONSES = Script(
    _COMMON
    + """
local answers = {}
sweep(ARGV[1], tonumber(ARGV[2]), #ARGV)
for i = 3, #ARGV, 5 do
  local id, prompt, time, orphan, packed = unpack(ARGV, i, i + 4)
  local side = redis.call('HGET', sides, prompt)
  if not side and redis.call('HEXISTS', responses, id) == 0 then
    redis.call('HSET', responses, id, packed)
    redis.call('ZADD', waiting, time, id)
    redis.call('SADD', base .. 'of:' .. prompt, id)
    if orphan == '1' then
      redis.call('SADD', orphans, id)
    else
      redis.call('ZADD', due, time, id)
    end
  end
  answers[#answers + 1] = side
  answers[#answers + 1] = redis.call('SISMEMBER', orphans, id)
end
return answers
"""
)

_CONFIRMED = """
local function confirm(run, mark)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', base .. 'run:' .. run, '-inf', mark)) do
    settle(id)
  end
end
"""

CONFIRM = Script(_COMMON + _CONFIRMED + "confirm(ARGV[1], ARGV[2]) return 0")

OVERDUE = Script(
    _COMMON
    + _CONFIRMED
    + """
local floor, limit, before, most = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local member, run, mark, lease = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local recovering, confirmed = ARGV[9], ARGV[10]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local runs, own = base .. 'runs:' .. member, base .. 'run:' .. run
local found, seen = {}, {}

local function take(ids)
  for _, id in ipairs(ids) do
    if not seen[id] and #found < most then
      seen[id] = true
      found[#found + 1] = id
    end
  end
end

confirm(run, confirmed)
if recovering == '1' then
  for _, earlier in ipairs(redis.call('SMEMBERS', runs)) do
    if earlier ~= run then
      local ids = redis.call('ZRANGE', base .. 'run:' .. earlier, 0, most - 1)
      take(ids)
      if #ids == 0 then
        redis.call('SREM', runs, earlier)
      end
    end
  end
end
for i = 11, #ARGV do
  take(redis.call('ZRANGEBYSCORE', own, ARGV[i], ARGV[i], 'LIMIT', 0, most))
end
take(redis.call('ZRANGEBYSCORE', unconfirmed, '-inf', now, 'LIMIT', 0, most))
local more = #found >= most and 1 or 0
if more == 0 then
  take(redis.call('ZRANGEBYSCORE', due, '-inf', '(' .. before, 'LIMIT', 0, most - #found))
end

local answers = {more}
for _, id in ipairs(found) do
  settle(id)
  redis.call('ZREM', due, id)
  local packed = redis.call('HGET', responses, id)
  if packed then
    redis.call('SADD', orphans, id)
    redis.call('HSET', announcer, id, run)
    redis.call('ZADD', own, mark, id)
    redis.call('ZADD', unconfirmed, now + lease, id)
    answers[#answers + 1] = packed
  end
end
if #found > 0 then
  redis.call('SADD', runs, run)
end
sweep(floor, limit, 100)
return answers
""",
    again=False,
)
