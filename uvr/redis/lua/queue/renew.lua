-- Adds an item again whose record exists, in place of one that is delayed or dead.
-- KEYS: queue, root, set that limits (the queue itself for no limit). ARGV: members that the limiting set may have (0:
-- any number), id, priority, statuses in which it may be renewed with commas between ('': all), record…
-- Returns 1, 0 when there is no such record, its status is another one, or the item waits or is leased, or -1 when the
-- limit is reached.

refuse_when_full()
local queue, id = KEYS[1], ARGV[2]
if not has_status(KEYS[2], id, ARGV[4]) then return 0 end
if is_live(queue, id) and not redis.call('ZSCORE', queue .. ':delayed', id) then return 0 end
if is_full(KEYS[3], tonumber(ARGV[1])) then return -1 end
update_record(KEYS[2], id, 5)
add_item_again(queue, KEYS[2], id, ARGV[3])
return 1
