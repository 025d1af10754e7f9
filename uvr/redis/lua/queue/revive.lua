-- Puts a dead letter back to its old place, with its counters at 0.
-- KEYS: queue, root. ARGV: id, record…
-- Returns 1, or 0 when the item is no dead letter.

refuse_when_full()
local queue, id = KEYS[1], ARGV[1]
if not redis.call('ZSCORE', queue .. ':dead', id) then return 0 end
update_record(KEYS[2], id, 2)
redis.call('ZREM', queue .. ':dead', id)
redis.call('HSET', item_key(queue, id), 'failures', 0, 'crashes', 0, 'turn', '')
put_back(queue, KEYS[2], id)
return 1
