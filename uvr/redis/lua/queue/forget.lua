-- Deletes a record, with the item's dead letters.
-- KEYS: queue, root, other queues that the item may be in…
-- ARGV: id, statuses in which a record may be deleted with commas between, '1' for a deletion on request: live items go
-- as well, and the id is remembered as deleted for two days.
-- Returns 1, or 0 when the record has another status or the item is live.

run_when_full()
local id, root, queues = ARGV[1], KEYS[2], {KEYS[1], unpack(KEYS, 3)}
if not has_status(root, id, ARGV[2]) then return 0 end
for _, queue in ipairs(queues) do
  if ARGV[3] ~= '1' and is_live(queue, id) then return 0 end
end

for _, queue in ipairs(queues) do remove_item(queue, id) end
local record = redis.call('HMGET', record_key(root, id), 'status', 'created_ms', 'owner', 'batch')
redis.call('DEL', record_key(root, id))
for _, index in ipairs(indexes_of(root, record[3])) do
  redis.call('ZREM', index, record[2] .. ':' .. id)
  redis.call('ZREM', index .. ':' .. record[1], record[2] .. ':' .. id)
end
if record[4] then redis.call('ZREM', batch_key(root, record[4]), record[2] .. ':' .. id) end
if ARGV[3] == '1' then
  redis.call('ZADD', root .. ':deleted', now_ms(), id)
  local old = redis.call('ZRANGEBYSCORE', root .. ':deleted', '-inf', now_ms() - 2 * 86400000, 'LIMIT', 0, PAGE)
  if old[1] then redis.call('ZREM', root .. ':deleted', unpack(old)) end
end
return 1
