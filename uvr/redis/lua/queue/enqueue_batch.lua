-- Adds up to a page of items and creates their records: all of them, or none for one of the reasons of enqueue.lua.
-- KEYS: queue, root, set that limits (the queue itself for no limit).
-- ARGV: batch, members that the limiting set may have (0: any number), name of a request that counts once or '', what
-- the request asks for, ms for which it is remembered; then for each item: id, priority, length of its record, record…
-- Returns {'accepted'}, {'exists'}, {'limited'}, or {'repeated', batch of the earlier request ('' if it was no batch),
-- 1 if it asked for the same or 0}.

refuse_when_full()
local queue, root, limiting = KEYS[1], KEYS[2], KEYS[3]
local batch, max_members, request_key = ARGV[1], tonumber(ARGV[2]), root .. ':asked:' .. ARGV[3]

-- While anything of the earlier request is left, it may not come again.
local function earlier_request()
  local earlier = redis.call('HMGET', request_key, 'id', 'for', 'batch')
  if not earlier[1] then return nil end
  local is_left = redis.call('EXISTS', record_key(root, earlier[1])) == 1
    or earlier[3] and redis.call('EXISTS', batch_key(root, earlier[3])) == 1
  return is_left and {'repeated', earlier[3] or '', earlier[2] == ARGV[4] and 1 or 0}
end

local starts, start = {}, 6
while start <= #ARGV do
  starts[#starts + 1] = start
  start = start + 3 + ARGV[start + 2]
end
local earlier = ARGV[3] ~= '' and earlier_request()
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
if ARGV[3] ~= '' then
  redis.call('HSET', request_key, 'id', ARGV[6], 'for', ARGV[4], 'batch', batch)
  redis.call('PEXPIRE', request_key, ARGV[5])
end
return {'accepted'}
