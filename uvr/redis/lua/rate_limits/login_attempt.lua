-- Counts an attempt to log in as a failure before its password is checked, so that no number of attempts at the same
-- time exceeds the limits. From the first failure that costs time on, each costs twice as long as the one before.
-- KEYS: failures, wait, address, known. ARGV: see common.lua. Returns the result of `waits`; the attempt counts if both
-- waits are 0.

run_when_full()
local now = now_ms()
local found = waits(now)
if found[1] > 0 or found[2] > 0 then return found end
local failures = redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[4])
local beyond = failures - ARGV[2]
if beyond >= 0 then redis.call('SET', KEYS[2], '', 'EX', math.min(2 ^ math.min(beyond, 30), ARGV[3])) end
if found[3] < 0 then
  local _, due = ask(KEYS[3], now, ARGV[5], ARGV[6])
  set_due(KEYS[3], now, due)
end
return found
