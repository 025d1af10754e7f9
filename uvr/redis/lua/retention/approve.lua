-- Approves that what a round was stopped for is deleted.
-- KEYS: root. ARGV: kind. Returns 1, or 0 when no round was stopped for this kind.

run_when_full()
local key, since, before = KEYS[1] .. ':retention', ARGV[1] .. '_held_since_ms', ARGV[1] .. '_held_before_ms'
local held_before = redis.call('HGET', key, before)
if not held_before then return 0 end
redis.call('HSET', key, ARGV[1] .. '_approved_ms', held_before)
redis.call('HDEL', key, since, before)
return 1
