-- Puts a dead letter back as if it were added now: as a first try behind all others, with its counters at 0. With its old
-- place, a thousand retried old items would go before all that wait; only the number of its claims goes on.
-- KEYS: queue, root, set that limits (the queue itself for no limit). ARGV: members that the limiting set may have (0:
-- any number), id, record…
-- Returns 1, 0 when the item is no dead letter, or -1 when the limit is reached.

refuse_when_full()
local queue, id = KEYS[1], ARGV[2]
local item = redis.call('HMGET', item_key(queue, id), 'priority', 'attempt')
if not (item[1] and redis.call('ZSCORE', queue .. ':dead', id)) then return 0 end
if is_full(KEYS[3], tonumber(ARGV[1])) then return -1 end
update_record(KEYS[2], id, 3)
add_item_again(queue, KEYS[2], id, item[1])
redis.call('HSET', item_key(queue, id), 'attempt', item[2])
return 1
