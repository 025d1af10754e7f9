-- Checks whether a leased item should go back to the queue: another item now comes before it, another worker is idle,
-- or the lease is lost.
-- KEYS: queue. ARGV: id, fence, longest wait s (0: none), name of the asking worker or '' (idle workers do not count),
-- ms for which an idle worker counts.
-- Returns 1 or 0.

run_when_full()
local queue, id, now = KEYS[1], ARGV[1], now_ms()
if not holds(queue, id, ARGV[2]) then return 1 end
if ARGV[4] ~= '' then
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', queue .. ':idle', now - ARGV[5], '+inf')) do
    if worker ~= ARGV[4] then return 1 end
  end
end
-- The leased item waits for a moment as well, so that the order is exactly that of a claim.
local place = redis.call('HMGET', item_key(queue, id), 'score', 'member')
redis.call('ZADD', queue, place[1], place[2])
local first = next_item(queue, now, tonumber(ARGV[3]))
redis.call('ZREM', queue, place[2])
return first == place[2] and 0 or 1
