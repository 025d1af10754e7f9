-- Marks a file for deletion, so that no task can take it any more.
-- KEYS: index of uploads. ARGV: key of the file, its score when the caller read it.
-- Returns 1, or 0 when the score has changed since: a task has taken the file, or another process deletes it.

run_when_full()
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], -1, ARGV[1])
return 1
