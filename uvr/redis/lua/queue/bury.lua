-- Moves a leased item to the dead letters, and adds it to the next queue if there is one.
-- KEYS: queue, root, next queue (the queue itself for none). ARGV: id, fence, record…
-- Returns 1, or 0 when the lease is lost.

run_when_full()
local queue, id = KEYS[1], ARGV[1]
if not holds(queue, id, ARGV[2]) then return 0 end
update_record(KEYS[2], id, 3)
if KEYS[3] ~= queue then add_item_again(KEYS[3], KEYS[2], id, redis.call('HGET', item_key(queue, id), 'priority')) end
end_lease(queue, id)
redis.call('ZADD', queue .. ':dead', now_ms(), id)
return 1
