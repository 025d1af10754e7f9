-- Announces that a worker is alive. Runs on a full server as well, whose workers work all the same.
-- KEYS: root. ARGV: name of the worker, facts about it as JSON, s after which the facts expire.

run_when_full()
local workers, seconds = KEYS[1] .. ':workers', redis.call('TIME')[1]
redis.call('ZADD', workers, seconds, ARGV[1])
redis.call('ZREMRANGEBYSCORE', workers, '-inf', seconds - 3600)
redis.call('SET', KEYS[1] .. ':worker:' .. ARGV[1], ARGV[2], 'EX', ARGV[3])
