-- Notes that a round was stopped because too much has expired at once, unless that is noted already. Runs on a full
-- server as well, which must be able to become empty again.
-- KEYS: root. ARGV: kind, before when the things ended that have expired, ms.
-- Returns since when it is noted, ms.

run_when_full()
local key, since, before = KEYS[1] .. ':retention', ARGV[1] .. '_held_since_ms', ARGV[1] .. '_held_before_ms'
if redis.call('HEXISTS', key, since) == 0 then redis.call('HSET', key, since, now_ms(), before, ARGV[2]) end
return tonumber(redis.call('HGET', key, since))
