-- Moves items to the end of another queue, all but the dead ones. Workers that hold one lose their lease.
-- KEYS: queue, root, the queue to move to. ARGV: how many at most, record…
-- Returns the ids of the items moved.

run_when_full()
local queue, moved = KEYS[1], {}
for _, set in ipairs({':lease', ':delayed'}) do
  for _, id in ipairs(redis.call('ZRANGE', queue .. set, 0, -1)) do
    redis.call('ZREM', queue .. set, id)
    put_back(queue, id)
  end
end
while #moved < tonumber(ARGV[1]) do
  local _, id = next_item(queue, 0, 0)
  if not id then break end
  update_record(KEYS[2], id, 2)
  add_item_again(KEYS[3], id, redis.call('HGET', item_key(queue, id), 'priority'))
  remove_item(queue, id)
  moved[#moved + 1] = id
end
return moved
