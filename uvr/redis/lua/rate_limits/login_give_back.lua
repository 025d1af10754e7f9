-- Takes back what login_attempt.lua has counted: the password was right, or was not checked.
-- KEYS: failures, wait, address, known. ARGV: see common.lua; then [8]: 1 if the attempt counted for the address too.

run_when_full()
local failures = tonumber(redis.call('GET', KEYS[1]) or 0)
if failures > 1 then redis.call('DECR', KEYS[1]) else redis.call('DEL', KEYS[1]) end
redis.call('DEL', KEYS[2])
if ARGV[8] == '1' then
  local now = now_ms()
  set_due(KEYS[3], now, tonumber(redis.call('GET', KEYS[3]) or 0) - ARGV[6])
end
