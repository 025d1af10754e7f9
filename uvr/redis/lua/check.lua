-- Does nothing, and is refused whenever queue/enqueue.lua is: by a server that is full, read-only or cannot save, and
-- by one that does not run scripts or does not allow this user to run them.
-- KEYS: queue. Returns 1.

refuse_when_full()
return 1
