-- Helpers for the steps of a queue. The keys are listed in redis_queue.py.
--
-- Redis runs each script to its end before any other command. But if a script fails in the middle, Redis does not undo
-- what it has done. So a step writes the record before it moves the item: if the record cannot be written, the item
-- stays where it is.
-- In the comments, `record…` means pairs of a field and its value.

local function item_key(queue, id) return queue .. ':item:' .. id end

local function record_key(root, id) return root .. ':task:' .. id end

local function wake(queue) redis.call('ZADD', queue .. ':wake', 0, 'wake') end

-- After another claim, or after the item was added again, the fence of the old worker no longer matches.
local function holds(queue, id, fence)
  return redis.call('ZSCORE', queue .. ':lease', id)
     and redis.call('HGET', item_key(queue, id), 'fence') == fence
end

-- An item keeps its member and its score for life: one that comes back takes its old place, ahead of later ones.
local function put_back(queue, id)
  local place = redis.call('HMGET', item_key(queue, id), 'score', 'member')
  if not place[1] then return end -- evicted or deleted by hand: it must not keep the others from coming back
  redis.call('ZADD', queue, place[1], place[2])
  wake(queue)
end

-- The order of the queue: lower scores first, and equal scores by sequence number, which begins the member. The score
-- is the time in seconds since 1970 times 6 - priority. So a higher priority goes first, even if it comes later
-- (a later 5 passes an earlier 4 for some 57 years), and within a priority the earlier item goes first. At a time of
-- `seconds`, the scores of priority p lie in (seconds * (5 - p), seconds * (6 - p)].
local function add_item(queue, id, priority)
  if redis.call('EXISTS', item_key(queue, id)) == 1 then return false end
  local member = string.format('%016d:%s', redis.call('INCR', queue .. ':seq'), id)
  local score = redis.call('TIME')[1] * (6 - priority)
  redis.call('HSET', item_key(queue, id), 'member', member, 'score', score, 'priority', priority,
             'attempt', 0, 'failures', 0, 'crashes', 0)
  put_back(queue, id)
  return true
end

local function remove_item(queue, id)
  local member = redis.call('HGET', item_key(queue, id), 'member')
  if member then redis.call('ZREM', queue, member) end
  for _, set in ipairs({':lease', ':delayed', ':dead'}) do redis.call('ZREM', queue .. set, id) end
  redis.call('DEL', item_key(queue, id))
end

-- Replaces what is left of the item in this queue: a dead letter, or an item that a worker still holds.
local function add_item_again(queue, id, priority)
  remove_item(queue, id)
  add_item(queue, id, priority)
end

-- Whether work is left to do for the item: it waits, is leased or is delayed.
local function is_live(queue, id)
  return redis.call('EXISTS', item_key(queue, id)) == 1 and not redis.call('ZSCORE', queue .. ':dead', id)
end

-- `statuses` is a list with commas; '' allows every status.
local function has_status(root, id, statuses)
  local status = redis.call('HGET', record_key(root, id), 'status')
  return status and (statuses == '' or string.find(',' .. statuses .. ',', ',' .. status .. ',', 1, true))
end

-- The indexes that hold a record: that of all records and that of its owner. Each exists once more for each status.
local function indexes_of(root, owner)
  local all = root .. ':tasks'
  return (owner or '') == '' and {all} or {all, root .. ':owner:' .. owner}
end

-- Replaces 'now' by the time of this server, in the fields for times (`…_ms`), from ARGV[first] on.
local function set_times(first)
  for number = first, #ARGV, 2 do
    if ARGV[number + 1] == 'now' and string.sub(ARGV[number], -3) == '_ms' then ARGV[number + 1] = now_ms() end
  end
end

-- Writes the fields and values from ARGV[first] on into the record, and moves it between the indexes by status.
local function write_record(root, id, first)
  local key = record_key(root, id)
  set_times(first)
  local before = redis.call('HGET', key, 'status')
  redis.call('HSET', key, unpack(ARGV, first))
  local record = redis.call('HMGET', key, 'status', 'created_ms', 'owner')
  local status, member = record[1], record[2] .. ':' .. id
  if before == status then return end
  for _, index in ipairs(indexes_of(root, record[3])) do
    if before then redis.call('ZREM', index .. ':' .. before, member) end
    redis.call('ZADD', index, 0, member)
    redis.call('ZADD', index .. ':' .. status, 0, member)
  end
end

-- Does not bring back a record that was deleted while a worker still held its item.
local function update_record(root, id, first)
  if first <= #ARGV and redis.call('EXISTS', record_key(root, id)) == 1 then write_record(root, id, first) end
end

local function promote_due(queue, now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue .. ':delayed', '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', queue .. ':delayed', id)
    put_back(queue, id)
  end
end

-- The oldest item of a priority, which is the first in its range of scores (see add_item). `weight` is 6 - priority.
-- Returns {member, score}, or {} when no item of this priority waits.
local function oldest(queue, seconds, weight)
  return redis.call('ZRANGEBYSCORE', queue, '(' .. seconds * (weight - 1), seconds * weight,
                    'WITHSCORES', 'LIMIT', 0, 1)
end

-- The member that has waited longest, if it has waited `max_wait_s`; 0 turns this off.
local function overdue(queue, now, max_wait_s)
  if max_wait_s == 0 then return nil end
  local seconds = math.floor(now / 1000)
  local found, found_at = nil, seconds - max_wait_s
  for weight = 5, 1, -1 do
    local first = oldest(queue, seconds, weight)
    if first[1] and first[2] / weight <= found_at then found, found_at = first[1], first[2] / weight end
  end
  return found
end

-- The member and the id of the item that a claim takes now: an overdue one, else the one with the lowest score, which is
-- the highest priority (see add_item). Moves members that are no items out of the way.
local function next_item(queue, now, max_wait_s)
  promote_due(queue, now)
  while true do
    local member = overdue(queue, now, max_wait_s) or redis.call('ZRANGE', queue, 0, 0)[1]
    if not member then return nil end
    local id = string.sub(member, 18)
    if redis.call('HGET', item_key(queue, id), 'member') == member then return member, id end
    redis.call('ZADD', queue .. ':foreign', redis.call('ZSCORE', queue, member), member)
    redis.call('ZREM', queue, member)
  end
end
