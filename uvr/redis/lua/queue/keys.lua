-- The names of the keys of one item, and the wake-up of a worker. All keys are listed in redis_queue.py.

local function item_key(queue, id) return queue .. ':item:' .. id end

local function record_key(root, id) return root .. ':task:' .. id end

local function batch_key(root, batch) return root .. ':batch:' .. batch end

local function request_key(root, request) return root .. ':asked:' .. request end

local function wake(queue) redis.call('ZADD', queue .. ':wake', 0, 'wake') end
