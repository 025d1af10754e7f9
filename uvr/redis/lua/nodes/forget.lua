-- Forgets a node, unless one of its members has sent a heartbeat meanwhile.
-- KEYS: root. ARGV: the latest heartbeat ms that a forgotten member may have, the members of the node…
-- Returns how many members are forgotten.

run_when_full()
for number = 2, #ARGV do
  local heartbeat = redis.call('ZSCORE', KEYS[1] .. ':nodes', ARGV[number])
  if heartbeat and tonumber(heartbeat) > tonumber(ARGV[1]) then return 0 end
end
return redis.call('ZREM', KEYS[1] .. ':nodes', unpack(ARGV, 2))
