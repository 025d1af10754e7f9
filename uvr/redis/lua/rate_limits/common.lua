-- Helpers for rate limits and for logins.

-- An allowance comes back evenly (GCRA): all of it may be used at once, and none is lost or won at the turn of a minute.
-- `key` holds when all of it is back, ms. Returns how long to wait before one of `max` can be taken, 0 if that is now,
-- and what `key` holds once it is taken.
local function ask(key, now, max, each_ms)
  local due = math.max(now, tonumber(redis.call('GET', key) or 0)) + each_ms
  return math.max(0, math.ceil(due - now - max * each_ms)), due
end

local function set_due(key, now, due)
  if due > now then redis.call('SET', key, string.format('%.3f', due), 'PX', math.ceil(due - now))
  else redis.call('DEL', key) end
end

-- Every script for logins gets the same.
-- KEYS: failures, wait, address, known. ARGV: client's address, failures that cost nothing, longest wait s, s after which
-- failures are forgotten, attempts an address has for unknown names, ms for one of those to come back, s for which a
-- successful login is known.

-- How long this name has to wait at this address, and how long every name that is not known there, both in ms; then for
-- how many seconds the name has been known, -1 if it is not.
local function waits(now)
  local known_at = redis.call('ZSCORE', KEYS[4], ARGV[1])
  local known_s = known_at and math.max(0, math.floor((now - known_at) / 1000)) or -1
  if known_s - ARGV[7] >= 0 then known_s = -1 end
  local address_ms = known_s < 0 and ask(KEYS[3], now, ARGV[5], ARGV[6]) or 0
  return {math.max(0, redis.call('PTTL', KEYS[2])), address_ms, known_s}
end
