-- Sends the heartbeat of a node's processor or uploader, and reads those of all. Runs on a full server as well, which
-- must not look like the death of all nodes.
-- KEYS: root. ARGV: member "{kind}:{node}", longest pause ms after which silence counts from now on.
-- Returns {now ms, since when heartbeats are read without a long pause ms, {member, last heartbeat ms, …}}.

run_when_full()
local nodes, watch, now = KEYS[1] .. ':nodes', KEYS[1] .. ':nodes:watch', now_ms()
redis.call('ZADD', nodes, now, ARGV[1])
local watched = redis.call('HMGET', watch, 'since', 'last')
local since, last = tonumber(watched[1]), tonumber(watched[2])
if not last or math.abs(now - last) > tonumber(ARGV[2]) then since = now end
if last and now < last then -- the clock was set back: what it showed must not count as life for so long
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', nodes, '(' .. now, '+inf')) do
    redis.call('ZADD', nodes, now, member)
  end
end
redis.call('HSET', watch, 'since', since, 'last', now)
return {now, since, redis.call('ZRANGE', nodes, 0, -1, 'WITHSCORES')}
