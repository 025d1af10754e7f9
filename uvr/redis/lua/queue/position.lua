-- Reads how many items go before this one (order.lua).
-- KEYS: queue. ARGV: id. Returns the number, or nil when it does not wait.

return items_before(KEYS[1], ARGV[1])
