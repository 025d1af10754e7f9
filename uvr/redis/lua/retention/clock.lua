-- Reads the clock by which things are deleted because of their age, and notes since when it has run evenly. After a jump
-- it drops what uvr/uploader/housekeeping/mass_expiry.py has noted: that may go by the wrong time.
-- KEYS: root. ARGV: what the clock should show now by the caller's own steady clock, ms ('' if the caller has just
-- started), by how many ms it may differ, for how many ms the whole service may have been stopped.
-- Returns {now ms, since when the clock has run evenly ms (0: for ever)}.

run_when_full()
local key, now = KEYS[1] .. ':retention', now_ms()
local expected, tolerance, pause = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local state = redis.call('HMGET', key, 'round_ms', 'even_since_ms')
local last, since = tonumber(state[1]) or now, tonumber(state[2]) or 0
if now < last - tolerance or expected and math.abs(now - expected) > tolerance then
  redis.call('DEL', key)
  since = now
elseif not expected and now - last > pause then
  since = now -- a long stop and a jump look the same
end
redis.call('HSET', key, 'round_ms', now, 'even_since_ms', since)
return {now, since}
