-- Lists stems that may be in the storage although their task is deleted. Runs on a full server as well, because the
-- task's record, which is larger, goes next.
-- KEYS: index of strays. ARGV: keys of the stems…

run_when_full()
local now = now_ms()
for _, stem in ipairs(ARGV) do redis.call('ZADD', KEYS[1], now, stem) end
