-- Puts items with expired leases back, and counts a crash for each that a worker had begun. Also looks through a page
-- of the queue for items that an older version has added, and that stand in no line.
-- KEYS: queue, root. ARGV: lease ms, record…
-- Returns how many leases were looked at, at most a page, and the ids of the items that were put back. After a full
-- page, call again.

run_when_full()
local queue, root, now, lease_ms = KEYS[1], KEYS[2], now_ms(), tonumber(ARGV[1])

-- While no worker could reap, none could send a heartbeat either. So leases that expire soon after such a silence get a
-- grace in which living workers can send one; a lease gets it once until its next heartbeat.
local before = redis.call('GET', queue .. ':reaped')
if before and now - before > lease_ms / 2 then redis.call('SET', queue .. ':silent', now) end
redis.call('SET', queue .. ':reaped', now)
local grace_ends = (redis.call('GET', queue .. ':silent') or -lease_ms) + lease_ms / 3

local expired, reaped = redis.call('ZRANGEBYSCORE', queue .. ':lease', '-inf', now, 'LIMIT', 0, PAGE), {}
for _, id in ipairs(expired) do
  if now < grace_ends and redis.call('HGET', item_key(queue, id), 'graced') == '0' then
    redis.call('ZADD', queue .. ':lease', grace_ends, id)
    redis.call('HSET', item_key(queue, id), 'graced', 1)
  else
    end_lease(queue, id)
    -- A lease without a heartbeat never reached its worker: the answer to the claim was lost, and no work has begun.
    if redis.call('HGET', item_key(queue, id), 'begun') == '1' then count_against(queue, id, 'crashes') end
    put_back(queue, root, id)
    pcall(update_record, root, id, 2) -- one faulty record must not keep the other items from coming back
    reaped[#reaped + 1] = id
  end
end

local from = tonumber(redis.call('GET', queue .. ':swept') or 0)
local members = redis.call('ZRANGE', queue, from, from + PAGE - 1)
adopt(queue, root, members)
if #members == PAGE then redis.call('SET', queue .. ':swept', from + PAGE) else redis.call('DEL', queue .. ':swept') end
return {#expired, unpack(reaped)}
