-- Reads when a session expires. Writes nothing, so it also runs on a server that accepts no writes.
-- KEYS: sessions of a user. ARGV: digest of the session's id.
-- Returns the present time and when the session expires, both in s; 0 for a session that has ended.

local now = math.floor(now_ms() / 1000)
local expires = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
return {now, expires > now and expires or 0}
