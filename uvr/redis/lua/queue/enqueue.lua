-- Adds an item and creates its record, unless one of four reasons is against it; then it changes nothing. `add_item` in
-- common.lua gives the item its score, which decides its place in the queue.
-- KEYS: queue, root, set that limits, index of attachments (the queue itself where there is no limit or attachment).
-- ARGV: id, priority, members that the limiting set may have (0: any number), name of a request that counts once or '',
-- what the request asks for, ms for which it is remembered, attachment or '', record…
-- Returns {'accepted'}, {'exists'}, {'limited'}, {'detached'} when the attachment is no longer in its index, or
-- {'repeated', id, priority, 1 if it asked for the same or 0} when the request came before.

refuse_when_full()
local queue, root, id, priority = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local limiting, max_members = KEYS[3], tonumber(ARGV[3])
local request, asks_for, remembered_ms = ARGV[4], ARGV[5], ARGV[6]
local attachments, attachment = KEYS[4], ARGV[7]
local request_key = root .. ':asked:' .. request

-- When the record of the earlier item was deleted, the request may come again.
local function earlier_item()
  local earlier = redis.call('HMGET', request_key, 'id', 'for')
  local its_priority = earlier[1] and redis.call('HGET', record_key(root, earlier[1]), 'priority')
  return its_priority and {'repeated', earlier[1], its_priority, earlier[2] == asks_for and 1 or 0}
end

local function is_attached() return tonumber(redis.call('ZSCORE', attachments, attachment) or -1) >= 0 end

if redis.call('EXISTS', record_key(root, id)) == 1 then return {'exists'} end
local earlier = request ~= '' and earlier_item()
if earlier then return earlier end
if is_full(limiting, max_members) then return {'limited'} end
if attachment ~= '' and not is_attached() then return {'detached'} end
if redis.call('EXISTS', item_key(queue, id)) == 1 then return {'exists'} end
if #ARGV > 7 then write_record(root, id, 8) end -- the line of the item is that of the record's owner
add_item(queue, root, id, priority)
if attachment ~= '' then redis.call('ZADD', attachments, 0, attachment) end
if request ~= '' then
  redis.call('HSET', request_key, 'id', id, 'for', asks_for)
  redis.call('PEXPIRE', request_key, remembered_ms)
end
return {'accepted'}
