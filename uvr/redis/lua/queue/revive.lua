-- Puts a dead letter back as a first try, with its old score and its counters at 0.
-- KEYS: queue, root, set that limits (the queue itself for no limit). ARGV: members that the limiting set may have (0:
-- any number), id, record…
-- Returns 1, 0 when the item is no dead letter, or -1 when the limit is reached.

refuse_when_full()
local queue, id = KEYS[1], ARGV[2]
if not redis.call('ZSCORE', queue .. ':dead', id) then return 0 end
if is_full(KEYS[3], tonumber(ARGV[1])) then return -1 end
update_record(KEYS[2], id, 3)
redis.call('ZREM', queue .. ':dead', id)
redis.call('HSET', item_key(queue, id), 'failures', 0, 'crashes', 0, 'turn', '')
put_back(queue, KEYS[2], id)
return 1
