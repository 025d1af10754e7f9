-- Counts a request, unless its user has used up the allowance.
-- KEYS: rate. ARGV: requests allowed per minute.
-- Returns for how many ms to wait, 0 when the request counts.

run_when_full()
local now = now_ms()
local wait, due = ask(KEYS[1], now, ARGV[1], 60000 / ARGV[1])
if wait == 0 then set_due(KEYS[1], now, due) end
return wait
