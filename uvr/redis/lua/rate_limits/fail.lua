-- Counts a wrong password. From the first one that costs time on, each costs twice as long as the one before.
-- KEYS: failures, wait. ARGV: failures that cost nothing, longest wait s, s after which failures are forgotten.

run_when_full()
local failures = redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
local beyond = failures - ARGV[1]
if beyond >= 0 then redis.call('SET', KEYS[2], '', 'EX', math.min(2 ^ math.min(beyond, 30), ARGV[2])) end
