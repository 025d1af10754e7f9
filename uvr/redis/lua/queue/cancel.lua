-- Removes an item from all queues; a worker that holds it loses the lease.
-- KEYS: queue, root, other queues that the item may be in…
-- ARGV: id, statuses in which it may be cancelled with commas between, record…
-- Returns 1, or 0 when the record has another status.

run_when_full()
local id = ARGV[1]
if not has_status(KEYS[2], id, ARGV[2]) then return 0 end
update_record(KEYS[2], id, 3)
for _, queue in ipairs({KEYS[1], unpack(KEYS, 3)}) do remove_item(queue, id) end
return 1
