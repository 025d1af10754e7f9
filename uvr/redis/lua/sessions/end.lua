-- Ends a session.
-- KEYS: sessions of a user. ARGV: digest of the session's id.

run_when_full()
redis.call('ZREM', KEYS[1], ARGV[1])
