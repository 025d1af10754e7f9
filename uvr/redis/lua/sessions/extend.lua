-- Lets a session that is in use expire later, unless it has ended meanwhile.
-- KEYS: sessions of a user. ARGV: digest of the session's id, when it expires from now on, s.

run_when_full()
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1]) end
