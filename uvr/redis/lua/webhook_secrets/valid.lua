-- Reads the secrets that sign now: the newest one, and each other one for some time after it was replaced.
-- KEYS: secrets of a user, at most as many as add.lua keeps. ARGV: ms for which a secret signs after it was replaced.
-- Returns secret, made ms for each, newest first.

local valid, now, replaced = {}, now_ms(), nil
local found = redis.call('ZREVRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for number = 1, #found, 2 do
  if replaced and replaced + ARGV[1] <= now then break end
  replaced = tonumber(found[number + 1])
  valid[number], valid[number + 1] = found[number], found[number + 1]
end
return valid
