-- Checks whether a leased item should go back to the queue: a claim would take another item before it (order.lua),
-- another worker is idle, or the lease is lost.
-- KEYS: queue, root. ARGV: id, fence, longest wait s (0: none), leases that an owner may have (0: any number), name of
-- the asking worker or '' (idle workers do not count), ms for which an idle worker counts.
-- Returns 1 or 0.

run_when_full()
local queue, id, now = KEYS[1], ARGV[1], now_ms()
if not holds(queue, id, ARGV[2]) then return 1 end
if ARGV[5] ~= '' then
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', queue .. ':idle', now - ARGV[6], '+inf', 'LIMIT', 0, 2)) do
    if worker ~= ARGV[5] then return 1 end
  end
end
return goes_before(queue, KEYS[2], id, now, tonumber(ARGV[3]), tonumber(ARGV[4])) and 1 or 0
