-- Begins a session, and forgets those of its user that have expired or are too many. Runs on a full server as well,
-- where the admin has to look what fills it.
-- KEYS: sessions of a user. ARGV: digest of the session's id, s until it expires unless it is used, how many sessions a
-- user may have, s after which every session has ended.
-- Returns when it began, s.

run_when_full()
local now = math.floor(now_ms() / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return now
