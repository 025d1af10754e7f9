-- Removes a file that is deleted from the index, and its bytes from those of its owner.
-- KEYS: index of uploads. ARGV: key of the file.

run_when_full()
local index, key = KEYS[1], ARGV[1]
redis.call('ZREM', index, key)
local bytes, owner = string.match(redis.call('HGET', index .. ':sizes', key) or '', '^(%d+):(.*)$')
if not bytes then return end -- an older version listed it
redis.call('HDEL', index .. ':sizes', key)
if redis.call('HINCRBY', index .. ':bytes', owner, -bytes) <= 0 then redis.call('HDEL', index .. ':bytes', owner) end
