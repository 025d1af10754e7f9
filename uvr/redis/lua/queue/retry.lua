-- Puts a leased item back, at once or after a delay: to its old place, or behind all first tries if a failure counts.
-- KEYS: queue, root. ARGV: id, fence, delay ms, counter to raise ('failures', 'crashes' or '' for none), record…
-- Returns 1, or 0 when the lease is lost.

run_when_full()
local queue, id = KEYS[1], ARGV[1]
if not holds(queue, id, ARGV[2]) then return 0 end
update_record(KEYS[2], id, 5)
end_lease(queue, id)
if ARGV[4] ~= '' then count_against(queue, id, ARGV[4]) end
if tonumber(ARGV[3]) > 0 then
  redis.call('HSET', item_key(queue, id), 'turn', '') -- others had their turns meanwhile
  redis.call('ZADD', queue .. ':delayed', now_ms() + ARGV[3], id)
else
  put_back(queue, KEYS[2], id)
end
return 1
