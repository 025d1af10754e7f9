-- Reads how many items go before this one.
-- KEYS: queue. ARGV: id. Returns its rank, or nil when it does not wait.

local member = redis.call('HGET', item_key(KEYS[1], ARGV[1]), 'member')
return member and redis.call('ZRANK', KEYS[1], member)
