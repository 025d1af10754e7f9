-- Adds up to a page of items and creates their records: all of them, or none for one of the reasons of enqueue.lua.
-- KEYS: queue, root, set that limits (the queue itself for no limit).
-- ARGV: batch, members that the limiting set may have (0: any number), name of a request that counts once or '', what
-- the request asks for, ms for which it is remembered; then for each item: id, priority, length of its record, record…
-- Returns {'accepted'}, {'exists'}, {'limited'}, or what `earlier_request` in common.lua returns.

refuse_when_full()
local queue, root, limiting = KEYS[1], KEYS[2], KEYS[3]
local batch, max_members, request, asks_for = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

local starts, start = {}, 6
while start <= #ARGV do
  starts[#starts + 1] = start
  start = start + 3 + ARGV[start + 2]
end
local earlier = earlier_request(root, request, asks_for)
if earlier then return earlier end
if is_full(limiting, max_members, #starts) then return {'limited'} end
for _, first in ipairs(starts) do
  local id = ARGV[first]
  if redis.call('EXISTS', record_key(root, id)) == 1 or redis.call('EXISTS', item_key(queue, id)) == 1 then
    return {'exists'}
  end
end
for _, first in ipairs(starts) do
  write_record(root, ARGV[first], first + 3, first + 2 + ARGV[first + 2])
  add_item(queue, root, ARGV[first], ARGV[first + 1])
end
remember_request(root, request, asks_for, ARGV[5], ARGV[6], batch)
return {'accepted'}
