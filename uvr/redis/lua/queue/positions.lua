-- Reads how many items go before each of these (order.lua).
-- KEYS: queue. ARGV: ids. Returns a number for each, nil for one that does not wait.

local positions = {}
for number, id in ipairs(ARGV) do positions[number] = items_before(KEYS[1], id) or false end
return positions
