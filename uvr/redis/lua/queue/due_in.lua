-- Reads in how many ms the next delayed item is due.
-- KEYS: queue. Returns the ms, or nil when no item is delayed.

local due = redis.call('ZRANGE', KEYS[1] .. ':delayed', 0, 0, 'WITHSCORES')[2]
return due and math.max(0, due - now_ms())
