-- Leases the item that is next, under a new fence.
-- KEYS: queue. ARGV: lease ms, longest wait s (0: none), name of an idle worker or '', ms for which it counts as idle.
-- Returns {id, attempt, priority, failures, crashes, fence, score}, or nil when no item waits.

run_when_full()
local queue, now, idle = KEYS[1], now_ms(), KEYS[1] .. ':idle'

-- Never below the time, so that no fence comes again after a fail-over that lost the latest claims.
local function next_fence()
  local fence = math.max(now, (redis.call('GET', queue .. ':fence') or 0) + 1)
  redis.call('SET', queue .. ':fence', fence)
  return fence
end

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
redis.call('HSET', item, 'fence', next_fence(), 'begun', 0, 'graced', 0)
-- One worker takes one wake-up; while items are left, the next worker must not sleep.
if redis.call('EXISTS', queue) == 1 then wake(queue) end
return {id, unpack(redis.call('HMGET', item, 'attempt', 'priority', 'failures', 'crashes', 'fence', 'score'))}
