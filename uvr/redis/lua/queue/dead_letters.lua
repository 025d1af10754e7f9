-- Reads dead letters, newest first.
-- KEYS: queue. ARGV: first and last rank.
-- Returns {id, buried at ms, failures, crashes} for each.

local letters = {}
local found = redis.call('ZREVRANGE', KEYS[1] .. ':dead', ARGV[1], ARGV[2], 'WITHSCORES')
for number = 1, #found, 2 do
  local counts = redis.call('HMGET', item_key(KEYS[1], found[number]), 'failures', 'crashes')
  letters[#letters + 1] = {found[number], found[number + 1], counts[1] or 0, counts[2] or 0}
end
return letters
