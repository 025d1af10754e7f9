-- Extends a lease (heartbeat) and updates the record.
-- KEYS: queue, root. ARGV: id, fence, lease ms, record…
-- Returns 1, or 0 when the lease is lost.

run_when_full()
local queue, id = KEYS[1], ARGV[1]
if not holds(queue, id, ARGV[2]) then return 0 end
update_record(KEYS[2], id, 4)
redis.call('ZADD', queue .. ':lease', now_ms() + ARGV[3], id)
redis.call('HSET', item_key(queue, id), 'begun', 1, 'graced', 0)
return 1
