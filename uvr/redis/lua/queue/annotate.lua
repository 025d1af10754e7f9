-- Writes into a record, whatever state its item is in.
-- KEYS: queue, root. ARGV: id, record…
-- Returns 1, or 0 when there is no such record.

run_when_full()
update_record(KEYS[2], ARGV[1], 2)
return redis.call('EXISTS', record_key(KEYS[2], ARGV[1]))
