-- Adds an item again whose record exists, in place of one that is delayed or dead.
-- KEYS: queue, root. ARGV: id, priority, statuses in which it may be renewed with commas between ('': all), record…
-- Returns 1, or 0 when there is no such record, its status is another one, or the item waits or is leased.

refuse_when_full()
local queue, id = KEYS[1], ARGV[1]
if not has_status(KEYS[2], id, ARGV[3]) then return 0 end
if is_live(queue, id) and not redis.call('ZSCORE', queue .. ':delayed', id) then return 0 end
update_record(KEYS[2], id, 4)
add_item_again(queue, KEYS[2], id, ARGV[2])
return 1
