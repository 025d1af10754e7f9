-- Adds a secret, which is from now on the current one of its user, and keeps the latest ones before it. The first one
-- replaces the secret of the service, which the member '' stands for.
-- KEYS: secrets of the user. ARGV: secret, how many to keep with the new one.
-- Returns when it was made, ms; later than every other one, even if the clock was set back.

refuse_when_full()
local newest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
local made = math.max(now_ms(), (newest or 0) + 1)
if not newest then redis.call('ZADD', KEYS[1], made - 1, '') end
redis.call('ZADD', KEYS[1], made, ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[2])
return made
