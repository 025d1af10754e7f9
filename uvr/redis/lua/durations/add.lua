-- Adds how long a song took, and keeps the latest ones only.
-- KEYS: list of durations. ARGV: seconds, how many to keep.

run_when_full()
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, ARGV[2] - 1)
