-- Adds what a process has counted to the sums of all processes, and returns these on request. The sums start again at 0
-- when another server answers: it may have lost the latest writes, and a counter must not go back a little. Runs on a
-- full server as well; the hash holds a few hundred series and does not grow.
-- KEYS: root. ARGV: 'read' to get the sums or '', then pairs of a series and what to add.
-- Returns series and sums in turn, or nil.

run_when_full()
local key = KEYS[1] .. ':metrics'
local info = redis.pcall('INFO', 'server') -- some hosted servers do not allow it
local server = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or 'unknown'
if redis.call('HGET', key, 'server') ~= server then
  redis.call('DEL', key)
  redis.call('HSET', key, 'server', server)
end
for number = 2, #ARGV, 2 do redis.call('HINCRBYFLOAT', key, ARGV[number], ARGV[number + 1]) end
return ARGV[1] == 'read' and redis.call('HGETALL', key)
