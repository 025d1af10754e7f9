-- Adds an item and creates its record, unless one of four reasons is against it; then it changes nothing. `add_item` in
-- common.lua gives the item its score, which decides its place in the queue.
-- KEYS: queue, root, set that limits, index of attachments (the queue itself where there is no limit or attachment).
-- ARGV: id, priority, members that the limiting set may have (0: any number), name of a request that counts once or '',
-- what the request asks for, ms for which it is remembered, attachment or '', record…
-- Returns {'accepted'}, {'exists'}, {'limited'}, {'detached'} when the attachment is no longer in its index, or what
-- `earlier_request` in common.lua returns.

refuse_when_full()
local queue, root, id, priority = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local limiting, max_members = KEYS[3], tonumber(ARGV[3])
local request, asks_for, remembered_ms = ARGV[4], ARGV[5], ARGV[6]
local attachments, attachment = KEYS[4], ARGV[7]

local function is_attached() return tonumber(redis.call('ZSCORE', attachments, attachment) or -1) >= 0 end

if redis.call('EXISTS', record_key(root, id)) == 1 then return {'exists'} end
local earlier = earlier_request(root, request, asks_for)
if earlier then return earlier end
if is_full(limiting, max_members) then return {'limited'} end
if attachment ~= '' and not is_attached() then return {'detached'} end
if redis.call('EXISTS', item_key(queue, id)) == 1 then return {'exists'} end
if #ARGV > 7 then write_record(root, id, 8) end -- the line of the item is that of the record's owner
add_item(queue, root, id, priority)
if attachment ~= '' then redis.call('ZADD', attachments, 0, attachment) end
remember_request(root, request, asks_for, remembered_ms, id, '')
return {'accepted'}
