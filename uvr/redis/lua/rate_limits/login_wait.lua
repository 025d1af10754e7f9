-- Whether a client has to wait before it may log in. Writes nothing, so it also runs on a server that accepts no writes.
-- KEYS: failures, wait, address, known. ARGV: see common.lua. Returns the result of `waits`.

return waits(now_ms())
