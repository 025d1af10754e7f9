-- Puts a leased item back to its old place, at once or after a delay.
-- KEYS: queue, root. ARGV: id, fence, delay ms, counter to raise ('failures', 'crashes' or '' for none), record…
-- Returns 1, or 0 when the lease is lost.

run_when_full()
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
