-- Removes a dead letter.
-- KEYS: queue. ARGV: id. Returns 1, or 0 when the item is no dead letter.

run_when_full()
if not redis.call('ZSCORE', KEYS[1] .. ':dead', ARGV[1]) then return 0 end
remove_item(KEYS[1], ARGV[1])
return 1
