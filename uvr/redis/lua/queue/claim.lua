-- Leases the item that is next by the order of the queue (order.lua), under a new fence.
-- KEYS: queue, root. ARGV: lease ms, longest wait s (0: none), leases that an owner may have (0: any number), name of
-- an idle worker or '', ms for which it counts as idle, how often rule 5 may overtake an item (0: never), the texts
-- of the records' `models` that are loaded…
-- Returns {id, models, attempt, priority, failures, crashes, fence, score}, or nil when no item may be claimed. `models`
-- is the text in the record, and '' while rule 5 is off.

run_when_full()
local queue, now, idle, max_running = KEYS[1], now_ms(), KEYS[1] .. ':idle', tonumber(ARGV[3])
local max_overtakes, loaded = tonumber(ARGV[6]), {}
for number = 7, #ARGV do loaded[ARGV[number]] = true end

-- Never below the time, so that no fence comes again after a fail-over that lost the latest claims.
local function next_fence()
  local fence = math.max(now, (redis.call('GET', queue .. ':fence') or 0) + 1)
  redis.call('SET', queue .. ':fence', fence)
  return fence
end

local line, member, id, is_overdue = next_item(queue, KEYS[2], now, tonumber(ARGV[2]), max_running)
if not line then
  redis.call('ZREMRANGEBYSCORE', idle, '-inf', now - ARGV[5])
  if ARGV[4] ~= '' then redis.call('ZADD', idle, now, ARGV[4]) end
  return nil
end
local models = ''
if max_overtakes > 0 and #ARGV > 6 and not is_overdue then
  member, id, models = next_of_loaded(queue, KEYS[2], line, member, loaded, max_overtakes)
elseif max_overtakes > 0 then
  models = models_of(KEYS[2], id)
end
local item, owner = item_key(queue, id), owner_of(line)
redis.call('ZREM', idle, ARGV[4])
local turn = serve(queue, line, member, is_overdue)
redis.call('ZADD', queue .. ':lease', now + ARGV[1], id)
if max_running > 0 and owner ~= '' then redis.call('ZADD', queue .. ':running:' .. owner, now, id) end
redis.call('HINCRBY', item, 'attempt', 1)
redis.call('HSET', item, 'fence', next_fence(), 'turn', turn, 'begun', 0, 'graced', 0)
-- One worker takes one wake-up; while items are left, the next worker must not sleep.
if redis.call('EXISTS', queue) == 1 then wake(queue) end
return {id, models, unpack(redis.call('HMGET', item, 'attempt', 'priority', 'failures', 'crashes', 'fence', 'score'))}
