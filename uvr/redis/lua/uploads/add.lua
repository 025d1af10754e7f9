-- Lists a file that is about to be stored, unless its owner has too many bytes stored. One file is always allowed.
-- KEYS: index of uploads. ARGV: key of the file, its owner, its bytes, bytes that an owner may have stored (0: any
-- number). Returns its score in the index, the time in ms, or 0 when it is refused; and the bytes of its owner before.

refuse_when_full()
local key, owner, bytes, max_bytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local stored = tonumber(redis.call('HGET', KEYS[1] .. ':bytes', owner) or 0)
if max_bytes > 0 and stored > 0 and stored + bytes > max_bytes then return {0, stored} end
local now = now_ms()
redis.call('ZADD', KEYS[1], now, key)
redis.call('HSET', KEYS[1] .. ':sizes', key, string.format('%.0f:', bytes) .. owner)
redis.call('HINCRBY', KEYS[1] .. ':bytes', owner, ARGV[3])
return {now, stored}
