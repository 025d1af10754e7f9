-- Puts items with expired leases back, and counts a crash for each that a worker had begun.
-- KEYS: queue, root. ARGV: lease ms, record…
-- Returns the ids of these items.

run_when_full()
local queue, now, lease_ms = KEYS[1], now_ms(), tonumber(ARGV[1])
local before = redis.call('GET', queue .. ':reaped')
redis.call('SET', queue .. ':reaped', now)

local function ended_by(time) return redis.call('ZRANGEBYSCORE', queue .. ':lease', '-inf', time) end

-- While no worker could reap, none could send a heartbeat either. So leases get a grace in which living workers can
-- send one; a lease gets it once until its next heartbeat.
if before and now - before > lease_ms / 2 then
  for _, id in ipairs(ended_by(now + lease_ms / 3)) do
    if redis.call('HGET', item_key(queue, id), 'graced') == '0' then
      redis.call('ZADD', queue .. ':lease', now + lease_ms / 3, id)
      redis.call('HSET', item_key(queue, id), 'graced', 1)
    end
  end
end

local expired = ended_by(now)
for _, id in ipairs(expired) do
  redis.call('ZREM', queue .. ':lease', id)
  -- A lease without a heartbeat never reached its worker: the answer to the claim was lost, and no work has begun.
  if redis.call('HGET', item_key(queue, id), 'begun') == '1' then
    redis.call('HINCRBY', item_key(queue, id), 'crashes', 1)
  end
  put_back(queue, id)
  pcall(update_record, KEYS[2], id, 2) -- one faulty record must not keep the other items from coming back
end
return expired
