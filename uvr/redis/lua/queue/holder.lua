-- Reads who holds an item.
-- KEYS: queue. ARGV: id. Returns the fence of the lease, or nil when there is no lease.

if not redis.call('ZSCORE', KEYS[1] .. ':lease', ARGV[1]) then return nil end
return redis.call('HGET', item_key(KEYS[1], ARGV[1]), 'fence')
