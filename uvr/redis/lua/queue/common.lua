-- Helpers for the steps of a queue. The keys are listed in redis_queue.py.
--
-- Redis runs each script to its end before any other command. But if a script fails in the middle, Redis does not undo
-- what it has done. So a step writes the record before it moves the item: if the record cannot be written, the item
-- stays where it is.
-- In the comments, `record…` means pairs of a field and its value.

-- After another claim, or after the item was added again, the fence of the old worker no longer matches.
local function holds(queue, id, fence)
  return redis.call('ZSCORE', queue .. ':lease', id)
     and redis.call('HGET', item_key(queue, id), 'fence') == fence
end

-- The score is the time in seconds since 1970 times 6 - priority. So a higher priority goes first, even if it comes
-- later (a later 5 passes an earlier 4 for some 57 years), and within a priority the earlier item goes first; equal
-- scores are ordered by the sequence number, which begins the member. At a time of `seconds`, the scores of priority p
-- lie in (seconds * (5 - p), seconds * (6 - p)]. order.lua has the whole order.
local function add_item(queue, root, id, priority)
  local member = string.format('%016d:%s', redis.call('INCR', queue .. ':seq'), id)
  local score = redis.call('TIME')[1] * (6 - priority)
  redis.call('HSET', item_key(queue, id), 'member', member, 'score', score, 'priority', priority,
             'attempt', 0, 'failures', 0, 'crashes', 0)
  put_back(queue, root, id)
end

-- Returns whether there was a lease. A worker that waits may take another item of the same owner now.
local function end_lease(queue, id)
  if redis.call('ZREM', queue .. ':lease', id) == 0 then return false end
  local owner = redis.call('HGET', item_key(queue, id), 'owner') or ''
  if owner ~= '' and redis.call('ZREM', queue .. ':running:' .. owner, id) == 1 then wake(queue) end
  return true
end

-- Makes an item that comes back a retry, which waits behind all first tries and has no turn of its own.
local function count_against(queue, id, counter)
  redis.call('HINCRBY', item_key(queue, id), counter, 1)
  redis.call('HSET', item_key(queue, id), 'turn', '')
end

local function remove_item(queue, id)
  if not end_lease(queue, id) then -- or it would be nowhere else
    local place = redis.call('HMGET', item_key(queue, id), 'member', 'line')
    if place[1] then
      redis.call('ZREM', queue, place[1])
      leave_line(queue, place[2], place[1])
    end
    for _, set in ipairs({':delayed', ':dead'}) do redis.call('ZREM', queue .. set, id) end
  end
  redis.call('DEL', item_key(queue, id))
end

-- Replaces what is left of the item in this queue: a dead letter, or an item that a worker still holds.
local function add_item_again(queue, root, id, priority)
  remove_item(queue, id)
  add_item(queue, root, id, priority)
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

-- Whether a set has no room for `count` more members (nil: one) within a limit; 0 allows any number.
local function is_full(set, max_members, count)
  return max_members > 0 and redis.call('ZCARD', set) + (count or 1) > max_members
end

-- The indexes that hold a record: that of all records and that of its owner. Each exists once more for each status.
local function indexes_of(root, owner)
  local all = root .. ':tasks'
  return (owner or '') == '' and {all} or {all, root .. ':owner:' .. owner}
end

-- Replaces 'now' by the time of this server, in the fields for times (`…_ms`), from ARGV[first] to ARGV[last].
local function set_times(first, last)
  for number = first, last, 2 do
    if ARGV[number + 1] == 'now' and string.sub(ARGV[number], -3) == '_ms' then ARGV[number + 1] = now_ms() end
  end
end

-- Writes the fields and values from ARGV[first] to ARGV[last] (nil: to the end) into the record, and moves it between the
-- indexes by status. A record stands in the index of its batch, if it has one, from its creation to its end.
local function write_record(root, id, first, last)
  local key = record_key(root, id)
  set_times(first, last or #ARGV)
  local before = redis.call('HGET', key, 'status')
  redis.call('HSET', key, unpack(ARGV, first, last or #ARGV))
  local record = redis.call('HMGET', key, 'status', 'created_ms', 'owner', 'batch')
  local status, member = record[1], record[2] .. ':' .. id
  if before == status then return end
  if not before and record[4] then redis.call('ZADD', batch_key(root, record[4]), 0, member) end
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

-- The earlier request of this name, as long as anything is left of what it added: {'repeated', id of its (first) item,
-- priority or '' when that is gone, batch or '' for a single item, 1 if it asked for the same or 0}. Else nil.
local function earlier_request(root, request, asks_for)
  if request == '' then return nil end
  local earlier = redis.call('HMGET', request_key(root, request), 'id', 'for', 'batch')
  if not earlier[1] then return nil end
  local priority, batch = redis.call('HGET', record_key(root, earlier[1]), 'priority') or '', earlier[3] or ''
  if priority == '' and (batch == '' or redis.call('EXISTS', batch_key(root, batch)) == 0) then return nil end
  return {'repeated', earlier[1], priority, batch, earlier[2] == asks_for and 1 or 0}
end

-- `batch` is '' for a request that added a single item.
local function remember_request(root, request, asks_for, remembered_ms, id, batch)
  if request == '' then return end
  redis.call('HSET', request_key(root, request), 'id', id, 'for', asks_for, 'batch', batch)
  redis.call('PEXPIRE', request_key(root, request), remembered_ms)
end
