-- Moves items to the end of another queue, all but the dead ones. Workers that hold one lose their lease. To be called
-- until nothing is left: first the leased and delayed items go back to their old places, then all items move in the
-- order of their scores.
-- KEYS: queue, root, the queue to move to. ARGV: how many items to touch at most, record…
-- Returns how many items were touched, and the ids of those that were moved.

run_when_full()
local queue, root, max_touched = KEYS[1], KEYS[2], tonumber(ARGV[1])
local touched, moved = 0, {}

local function first_of(set) return redis.call('ZRANGE', set, 0, max_touched - touched - 1) end

for _, set in ipairs({':lease', ':delayed'}) do
  for _, id in ipairs(touched < max_touched and first_of(queue .. set) or {}) do
    touched = touched + 1
    end_lease(queue, id)
    redis.call('ZREM', queue .. ':delayed', id)
    put_back(queue, root, id)
  end
end
for _, member in ipairs(touched == 0 and first_of(queue) or {}) do
  local id = string.sub(member, 18)
  touched = touched + 1
  if is_item(queue, member, id) then
    update_record(root, id, 2)
    add_item_again(KEYS[3], root, id, redis.call('HGET', item_key(queue, id), 'priority'))
    remove_item(queue, id)
    moved[#moved + 1] = id
  end
end
return {touched, unpack(moved)}
