"""The steps of redis_queue.py: Lua scripts, each of which Redis runs as one, on the keys that are listed there.

Nothing comes between the parts of a step, but it is not undone when it breaks off. So a record is written before its
item moves: a record that cannot be written leaves the item where it is.

Above each script stands what it takes; `record…` is pairs of a field and its value.
"""

from __future__ import annotations

from uvr.redis import lua

_PRELUDE = """
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function item_key(queue, id) return queue .. ':item:' .. id end

local function record_key(records, id) return records .. ':task:' .. id end

local function wake(queue) redis.call('ZADD', queue .. ':wake', 0, 'wake') end

-- After another claim, or a new start of the item, the old worker's fence no longer matches.
local function holds(queue, id, fence)
  return redis.call('ZSCORE', queue .. ':lease', id)
     and redis.call('HGET', item_key(queue, id), 'fence') == fence
end

-- An item keeps its member and score for life: what comes back takes its old place, ahead of what came later.
local function put_back(queue, id)
  local place = redis.call('HMGET', item_key(queue, id), 'score', 'member')
  if not place[1] then return end -- evicted or deleted by hand: it must not keep the others from coming back
  redis.call('ZADD', queue, place[1], place[2])
  wake(queue)
end

local function add(queue, id, priority)
  if redis.call('EXISTS', item_key(queue, id)) == 1 then return false end
  local member = string.format('%016d:%s', redis.call('INCR', queue .. ':seq'), id)
  local score = redis.call('TIME')[1] * (6 - priority)
  redis.call('HSET', item_key(queue, id), 'member', member, 'score', score, 'priority', priority,
             'attempt', 0, 'failures', 0, 'crashes', 0)
  put_back(queue, id)
  return true
end

-- `statuses` has commas between them; '' stands for every status.
local function has_status(records, id, statuses)
  local status = redis.call('HGET', record_key(records, id), 'status')
  return status and (statuses == '' or string.find(',' .. statuses .. ',', ',' .. status .. ',', 1, true))
end

-- Waiting, leased or delayed: something is still to be done.
local function is_live(queue, id)
  return redis.call('EXISTS', item_key(queue, id)) == 1 and not redis.call('ZSCORE', queue .. ':dead', id)
end

local function forget(queue, id)
  local member = redis.call('HGET', item_key(queue, id), 'member')
  if member then redis.call('ZREM', queue, member) end
  for _, set in ipairs({':lease', ':delayed', ':dead'}) do redis.call('ZREM', queue .. set, id) end
  redis.call('DEL', item_key(queue, id))
end

-- A new round through a queue replaces what is left of an earlier one: a dead letter, or an item somebody works on.
local function hand_over(queue, id, priority)
  forget(queue, id)
  add(queue, id, priority)
end

-- The lists a record stands in, each of them also by status: that of all records, and that of its owner.
local function lists_of(records, owner)
  local all = records .. ':tasks'
  return (owner or '') == '' and {all} or {all, records .. ':owner:' .. owner}
end

local function set_record(records, id, first)
  local key = record_key(records, id)
  local before = redis.call('HGET', key, 'status')
  redis.call('HSET', key, unpack(ARGV, first))
  local record = redis.call('HMGET', key, 'status', 'created_ms', 'owner')
  local status, member = record[1], record[2] .. ':' .. id
  if before == status then return end
  for _, list in ipairs(lists_of(records, record[3])) do
    if before then redis.call('ZREM', list .. ':' .. before, member) end
    redis.call('ZADD', list, 0, member)
    redis.call('ZADD', list .. ':' .. status, 0, member)
  end
end

-- A record that was deleted meanwhile is not brought back to life by the worker that still held the item.
local function update_record(records, id, first)
  if first <= #ARGV and redis.call('EXISTS', record_key(records, id)) == 1 then set_record(records, id, first) end
end

local function promote_due(queue, now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue .. ':delayed', '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', queue .. ':delayed', id)
    put_back(queue, id)
  end
end

-- Scores of priority p lie in (seconds * (5 - p), seconds * (6 - p)], so the oldest of each is the first of its range.
local function oldest(queue, seconds, weight)
  return redis.call('ZRANGEBYSCORE', queue, '(' .. seconds * (weight - 1), seconds * weight,
                    'WITHSCORES', 'LIMIT', 0, 1)
end

local function overdue(queue, now, longest_wait)
  if longest_wait == 0 then return nil end
  local seconds = math.floor(now / 1000)
  local longest, longest_at = nil, seconds - longest_wait
  for weight = 5, 1, -1 do
    local first = oldest(queue, seconds, weight)
    if first[1] and first[2] / weight <= longest_at then longest, longest_at = first[1], first[2] / weight end
  end
  return longest
end

-- The member and the id of the item that a claim takes now.
local function next_item(queue, now, longest_wait)
  promote_due(queue, now)
  while true do
    local member = overdue(queue, now, longest_wait) or redis.call('ZRANGE', queue, 0, 0)[1]
    if not member then return nil end
    local id = string.sub(member, 18)
    if redis.call('HGET', item_key(queue, id), 'member') == member then return member, id end
    redis.call('ZADD', queue .. ':foreign', redis.call('ZSCORE', queue, member), member)
    redis.call('ZREM', queue, member)
  end
end
"""


def _deny_oom(body: str) -> str:
    return lua.deny_oom(_PRELUDE + body)


def _allow_oom(body: str) -> str:
    return lua.allow_oom(_PRELUDE + body)


def _reads(body: str) -> str:
    return _PRELUDE + body


# KEYS: queue, records, a set that may not be too large. ARGV: id, priority, how large (0: it may), name of a request
# that counts once or '', what it asks for, ms for which that is remembered, an upload or '', record…
# Gives nil when the set is too large, {id, priority, whether it asked for the same} when the request came before, and
# -1 when the upload is not kept any more.
ENQUEUE = _deny_oom("""
local records, id, asked, upload = KEYS[2], ARGV[1], KEYS[2] .. ':asked:' .. ARGV[4], ARGV[7]

local function came_before()
  local before = redis.call('HMGET', asked, 'id', 'for')
  local priority = before[1] and redis.call('HGET', record_key(records, before[1]), 'priority')
  -- Whoever has deleted what the first one made may ask for it again.
  return priority and {before[1], priority, before[2] == ARGV[5] and 1 or 0}
end

local function is_kept() return tonumber(redis.call('ZSCORE', records .. ':uploads', upload) or -1) >= 0 end

if redis.call('EXISTS', record_key(records, id)) == 1 then return 0 end
local before = ARGV[4] ~= '' and came_before()
if before then return before end
local at_most = tonumber(ARGV[3])
if at_most > 0 and redis.call('ZCARD', KEYS[3]) >= at_most then return nil end
if upload ~= '' and not is_kept() then return -1 end
if not add(KEYS[1], id, ARGV[2]) then return 0 end
if #ARGV > 7 then set_record(records, id, 8) end
if upload ~= '' then redis.call('ZADD', records .. ':uploads', 0, upload) end
if ARGV[4] ~= '' then
  redis.call('HSET', asked, 'id', id, 'for', ARGV[5])
  redis.call('PEXPIRE', asked, ARGV[6])
end
return 1
""")

# KEYS: queue. ARGV: lease ms, longest wait s (0: none), idle worker or '', ms for which that is remembered.
# Gives {id, attempt, priority, failures, crashes, fence, score} or nil.
CLAIM = _allow_oom("""
-- Not below the time, so that no fence comes again where a fail-over has lost the latest claims.
local function next_fence(queue, now)
  local fence = math.max(now, (redis.call('GET', queue .. ':fence') or 0) + 1)
  redis.call('SET', queue .. ':fence', fence)
  return fence
end

local queue, now, idle = KEYS[1], now_ms(), KEYS[1] .. ':idle'
local member, id = next_item(queue, now, tonumber(ARGV[2]))
if not id then
  redis.call('ZREMRANGEBYSCORE', idle, '-inf', now - ARGV[4])
  if ARGV[3] ~= '' then redis.call('ZADD', idle, now, ARGV[3]) end
  return nil
end
local item = item_key(queue, id)
redis.call('ZREM', idle, ARGV[3])
redis.call('ZREM', queue, member)
redis.call('ZADD', queue .. ':lease', now + ARGV[1], id)
redis.call('HINCRBY', item, 'attempt', 1)
redis.call('HSET', item, 'fence', next_fence(queue, now), 'begun', 0, 'graced', 0)
-- One wake-up is taken by one worker; while items are left the next one must not sleep.
if redis.call('EXISTS', queue) == 1 then wake(queue) end
return {id, unpack(redis.call('HMGET', item, 'attempt', 'priority', 'failures', 'crashes', 'fence', 'score'))}
""")

# KEYS: queue, records. ARGV: id, fence, lease ms, record…
EXTEND = _allow_oom("""
local queue, id = KEYS[1], ARGV[1]
if not holds(queue, id, ARGV[2]) then return 0 end
update_record(KEYS[2], id, 4)
redis.call('ZADD', queue .. ':lease', now_ms() + ARGV[3], id)
redis.call('HSET', item_key(queue, id), 'begun', 1, 'graced', 0)
return 1
""")

# KEYS: queue. ARGV: id, fence, longest wait s (0: none), own name or '' (idle workers do not matter),
# ms for which an idle worker is remembered.
OVERTAKEN = _allow_oom("""
local queue, id, now = KEYS[1], ARGV[1], now_ms()
if not holds(queue, id, ARGV[2]) then return 1 end
if ARGV[4] ~= '' then
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', queue .. ':idle', now - ARGV[5], '+inf')) do
    if worker ~= ARGV[4] then return 1 end
  end
end
-- The leased item waits for a moment as well, so that the order is a claim's own in every respect.
local place = redis.call('HMGET', item_key(queue, id), 'score', 'member')
redis.call('ZADD', queue, place[1], place[2])
local first = next_item(queue, now, tonumber(ARGV[3]))
redis.call('ZREM', queue, place[2])
return first == place[2] and 0 or 1
""")

# KEYS: queue. ARGV: id. Gives a fence or nil.
HOLDER = _reads("""
if not redis.call('ZSCORE', KEYS[1] .. ':lease', ARGV[1]) then return nil end
return redis.call('HGET', item_key(KEYS[1], ARGV[1]), 'fence')
""")

# KEYS: queue. ARGV: id. Gives its rank or nil.
POSITION = _reads("""
local member = redis.call('HGET', item_key(KEYS[1], ARGV[1]), 'member')
return member and redis.call('ZRANK', KEYS[1], member)
""")

# KEYS: queue, records, next queue or the queue itself for none. ARGV: id, fence, record…
FINISH = _allow_oom("""
local queue, id = KEYS[1], ARGV[1]
if not holds(queue, id, ARGV[2]) then return 0 end
update_record(KEYS[2], id, 3)
if KEYS[3] ~= queue then hand_over(KEYS[3], id, redis.call('HGET', item_key(queue, id), 'priority')) end
forget(queue, id)
return 1
""")

# KEYS: queue, records. ARGV: id, fence, delay ms, what to count ('failures', 'crashes' or ''), record…
RETRY = _allow_oom("""
local queue, id = KEYS[1], ARGV[1]
if not holds(queue, id, ARGV[2]) then return 0 end
update_record(KEYS[2], id, 5)
redis.call('ZREM', queue .. ':lease', id)
if ARGV[4] ~= '' then redis.call('HINCRBY', item_key(queue, id), ARGV[4], 1) end
if tonumber(ARGV[3]) > 0 then
  redis.call('ZADD', queue .. ':delayed', now_ms() + ARGV[3], id)
else
  put_back(queue, id)
end
return 1
""")

# KEYS: queue, records, next queue or the queue itself for none. ARGV: id, fence, record…
BURY = _allow_oom("""
local queue, id = KEYS[1], ARGV[1]
if not holds(queue, id, ARGV[2]) then return 0 end
update_record(KEYS[2], id, 3)
if KEYS[3] ~= queue then hand_over(KEYS[3], id, redis.call('HGET', item_key(queue, id), 'priority')) end
redis.call('ZREM', queue .. ':lease', id)
redis.call('ZADD', queue .. ':dead', now_ms(), id)
return 1
""")

# KEYS: queue, records. ARGV: id, record…
REVIVE = _deny_oom("""
local queue, id = KEYS[1], ARGV[1]
if not redis.call('ZSCORE', queue .. ':dead', id) then return 0 end
update_record(KEYS[2], id, 2)
redis.call('ZREM', queue .. ':dead', id)
redis.call('HSET', item_key(queue, id), 'failures', 0, 'crashes', 0)
put_back(queue, id)
return 1
""")

# KEYS: queue, records. ARGV: id, priority, statuses in which it may be renewed with commas between ('': all), record…
RENEW = _deny_oom("""
local queue, id = KEYS[1], ARGV[1]
if not has_status(KEYS[2], id, ARGV[3]) then return 0 end
if is_live(queue, id) and not redis.call('ZSCORE', queue .. ':delayed', id) then return 0 end
update_record(KEYS[2], id, 4)
hand_over(queue, id, ARGV[2])
return 1
""")

# KEYS: queue, records, other queues the item may be in… ARGV: id, statuses in which it may be cancelled, record…
CANCEL = _allow_oom("""
local id = ARGV[1]
if not has_status(KEYS[2], id, ARGV[2]) then return 0 end
update_record(KEYS[2], id, 3)
for _, queue in ipairs({KEYS[1], unpack(KEYS, 3)}) do forget(queue, id) end
return 1
""")

# KEYS: queue. ARGV: id
DROP = _allow_oom("""
if not redis.call('ZSCORE', KEYS[1] .. ':dead', ARGV[1]) then return 0 end
forget(KEYS[1], ARGV[1])
return 1
""")

# KEYS: queue, records, other queues the item may be in… ARGV: id, statuses in which a record may be forgotten,
# '1' if it goes even if the item is live, and is remembered as deleted.
FORGET = _allow_oom("""
local id, queues = ARGV[1], {KEYS[1], unpack(KEYS, 3)}
if not has_status(KEYS[2], id, ARGV[2]) then return 0 end
for _, queue in ipairs(queues) do
  if ARGV[3] ~= '1' and is_live(queue, id) then return 0 end
end

for _, queue in ipairs(queues) do forget(queue, id) end
local record = redis.call('HMGET', record_key(KEYS[2], id), 'status', 'created_ms', 'owner')
redis.call('DEL', record_key(KEYS[2], id))
for _, list in ipairs(lists_of(KEYS[2], record[3])) do
  redis.call('ZREM', list, record[2] .. ':' .. id)
  redis.call('ZREM', list .. ':' .. record[1], record[2] .. ':' .. id)
end
if ARGV[3] == '1' then
  redis.call('ZADD', KEYS[2] .. ':deleted', now_ms(), id)
  redis.call('ZREMRANGEBYSCORE', KEYS[2] .. ':deleted', '-inf', now_ms() - 2 * 86400000)
end
return 1
""")

# KEYS: queue, records. ARGV: id, record…
ANNOTATE = _allow_oom("""
update_record(KEYS[2], ARGV[1], 2)
return redis.call('EXISTS', record_key(KEYS[2], ARGV[1]))
""")

# KEYS: queue. ARGV: first and last rank, latest first. Gives {id, ms, failures, crashes} for each dead letter.
LETTERS = _reads("""
local letters = {}
local found = redis.call('ZREVRANGE', KEYS[1] .. ':dead', ARGV[1], ARGV[2], 'WITHSCORES')
for number = 1, #found, 2 do
  local counts = redis.call('HMGET', item_key(KEYS[1], found[number]), 'failures', 'crashes')
  letters[#letters + 1] = {found[number], found[number + 1], counts[1] or 0, counts[2] or 0}
end
return letters
""")

# KEYS: queue, records. ARGV: lease ms, record…
REAP = _allow_oom("""
local queue, now, lease_ms = KEYS[1], now_ms(), tonumber(ARGV[1])
local before = redis.call('GET', queue .. ':reaped')
redis.call('SET', queue .. ':reaped', now)

local function ended_by(time) return redis.call('ZRANGEBYSCORE', queue .. ':lease', '-inf', time) end

-- Nobody could beat while nobody could reap: the living get time to say that they live, once until their next beat.
if before and now - before > lease_ms / 2 then
  for _, id in ipairs(ended_by(now + lease_ms / 3)) do
    if redis.call('HGET', item_key(queue, id), 'graced') == '0' then
      redis.call('ZADD', queue .. ':lease', now + lease_ms / 3, id)
      redis.call('HSET', item_key(queue, id), 'graced', 1)
    end
  end
end

local expired = ended_by(now)
for _, id in ipairs(expired) do
  redis.call('ZREM', queue .. ':lease', id)
  -- A lease that nobody extended was never heard of: the answer to the claim was lost, and no work has begun.
  if redis.call('HGET', item_key(queue, id), 'begun') == '1' then
    redis.call('HINCRBY', item_key(queue, id), 'crashes', 1)
  end
  put_back(queue, id)
  pcall(update_record, KEYS[2], id, 2) -- one faulty record must not keep the other items from coming back
end
return expired
""")

# KEYS: queue, records, the queue to move to. ARGV: how many at most, record…
EVACUATE = _allow_oom("""
local queue, moved = KEYS[1], {}
for _, set in ipairs({':lease', ':delayed'}) do
  for _, id in ipairs(redis.call('ZRANGE', queue .. set, 0, -1)) do
    redis.call('ZREM', queue .. set, id)
    put_back(queue, id)
  end
end
while #moved < tonumber(ARGV[1]) do
  local _, id = next_item(queue, 0, 0)
  if not id then break end
  update_record(KEYS[2], id, 2)
  hand_over(KEYS[3], id, redis.call('HGET', item_key(queue, id), 'priority'))
  forget(queue, id)
  moved[#moved + 1] = id
end
return moved
""")

# KEYS: queue. Gives the ms until the next delayed item is due, or nil.
DUE_IN = _reads("""
local due = redis.call('ZRANGE', KEYS[1] .. ':delayed', 0, 0, 'WITHSCORES')[2]
return due and math.max(0, due - now_ms())
""")

# KEYS: queue. Gives waiting, leased, delayed, dead, then the waiting ones of priority 1 to 5, then for how many s the
# first of each has waited.
SIZES = _reads("""
local queue, seconds = KEYS[1], redis.call('TIME')[1]
local sizes = {redis.call('ZCARD', queue), redis.call('ZCARD', queue .. ':lease'),
               redis.call('ZCARD', queue .. ':delayed'), redis.call('ZCARD', queue .. ':dead')}
for weight = 5, 1, -1 do
  sizes[#sizes + 1] = redis.call('ZCOUNT', queue, '(' .. seconds * (weight - 1), seconds * weight)
end
for weight = 5, 1, -1 do
  local first = oldest(queue, seconds, weight)
  sizes[#sizes + 1] = first[1] and seconds - first[2] / weight or 0
end
return sizes
""")
