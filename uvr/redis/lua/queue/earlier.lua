-- Whether a request that counts once came before.
-- KEYS: queue, root. ARGV: name of the request, what it asks for.
-- Returns what `earlier_request` in common.lua returns, or nil when it did not.

return earlier_request(KEYS[2], ARGV[1], ARGV[2])
