-- Lists a file that is about to be stored.
-- KEYS: index of uploads. ARGV: key of the file.
-- Returns its score in the index: the time in ms.

refuse_when_full()
local now = now_ms()
redis.call('ZADD', KEYS[1], now, ARGV[1])
return now
