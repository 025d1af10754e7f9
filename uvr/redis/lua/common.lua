-- Helpers for every script; the loader (uvr/redis/scripts.py) puts this file in front of each of them.
--
-- A script that writes begins with one of two commands, and so decides what happens when the server's memory is full.
-- Redis checks its memory before the first writing command of a script and never again in it, so that no script stops
-- half way. SETRANGE takes memory, so a full server refuses it, and the script with it; DEL takes none, so all that
-- follows runs. Neither changes anything: no key has the name that they use. Redis 7 has flags for the same
-- (`#!lua flags=allow-oom`), but Redis 6 cannot compile a script that has them, and a fail-over may lead from one to
-- the other: docs/decisions/0012-scripts-without-flags.md.

-- Redis 6 can be configured to replicate whole scripts; then it refuses to write after the script has read the time.
local function replicate_effects()
  if redis.replicate_commands then redis.replicate_commands() end
end

-- For scripts that take in something new.
local function refuse_when_full()
  replicate_effects()
  redis.call('SETRANGE', KEYS[1] .. ':none', 0, '')
end

-- For scripts that free memory or keep work going: a full server must be able to work through what it holds.
local function run_when_full()
  replicate_effects()
  redis.call('DEL', KEYS[1] .. ':none')
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
