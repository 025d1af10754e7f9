-- Gives an item that waits or is delayed another priority. It then stands where it would stand if it had been added with
-- that priority at its own time: its score is made from the same second.
-- KEYS: queue, root. ARGV: id, priority, record…
-- Returns 1, or 0 when the item neither waits nor is delayed.

run_when_full()
local queue, id, priority = KEYS[1], ARGV[1], ARGV[2]
local item = redis.call('HMGET', item_key(queue, id), 'member', 'score', 'priority')
local waits = item[1] and redis.call('ZSCORE', queue, item[1])
if not item[1] or not (waits or redis.call('ZSCORE', queue .. ':delayed', id)) then return 0 end
update_record(KEYS[2], id, 3)
if item[3] == priority then return 1 end
local score = item[2] / (6 - item[3]) * (6 - priority)
redis.call('HSET', item_key(queue, id), 'score', score, 'priority', priority, 'turn', '')
if waits then put_back(queue, KEYS[2], id) end -- into the line of its new priority
return 1
