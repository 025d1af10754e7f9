-- Reads the sizes of the queue at one moment.
-- KEYS: queue.
-- Returns waiting, leased, delayed, dead, then the waiting items of priority 1 to 5, then for how many s the first of
-- each priority has waited.

local queue, seconds = KEYS[1], redis.call('TIME')[1]
local sizes = {redis.call('ZCARD', queue), redis.call('ZCARD', queue .. ':lease'),
               redis.call('ZCARD', queue .. ':delayed'), redis.call('ZCARD', queue .. ':dead')}
for weight = 5, 1, -1 do
  sizes[#sizes + 1] = redis.call('ZCOUNT', queue, '(' .. seconds * (weight - 1), seconds * weight)
end
for weight = 5, 1, -1 do
  local first = redis.call('ZRANGEBYSCORE', queue, '(' .. seconds * (weight - 1), seconds * weight,
                           'WITHSCORES', 'LIMIT', 0, 1)
  sizes[#sizes + 1] = first[1] and seconds - first[2] / weight or 0
end
return sizes
