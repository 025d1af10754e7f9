-- Counts a request, unless its user has used up the allowance. The allowance comes back evenly (GCRA): a minute's worth
-- may be used at once, and none is lost or won at the turn of a minute.
-- KEYS: rate. ARGV: requests allowed per minute.
-- Returns for how many ms to wait, 0 when the request counts.

run_when_full()
local now = now_ms()
local due = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0)) + 60000 / ARGV[1]
local wait = math.ceil(due - now - 60000)
if wait > 0 then return wait end
redis.call('SET', KEYS[1], string.format('%.3f', due), 'PX', math.ceil(due - now))
return 0
