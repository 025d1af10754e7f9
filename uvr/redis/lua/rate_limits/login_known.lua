-- Remembers that a name has logged in from the client's address. Keeps the last addresses of each name.
-- KEYS: failures, wait, address, known. ARGV: see common.lua; then [8]: how many addresses.

run_when_full()
redis.call('ZADD', KEYS[4], now_ms(), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - ARGV[8])
redis.call('EXPIRE', KEYS[4], ARGV[7])
