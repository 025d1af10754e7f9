-- The order of a queue, all of it. Of the items that wait, a claim takes the first one by these rules, the strongest
-- rule first:
--
--   1. An item that has waited for `max_wait_s` goes before all others, the oldest first (0 turns this off).
--   2. The highest priority.
--   3. First tries before retries. A retry is an item that failed, or whose worker crashed, since it was added.
--   4. Users take turns: a user who had a turn is next after all others who wait.
--   5. First tries of the models that the worker has loaded go before at most `max_overtakes` others of their user (0
--      turns this off).
--   6. First in, first out: the lowest score, then the lowest sequence number.
--
-- Items of an owner who has `max_running` leases are passed over (0 turns this off).
--
-- The queue itself is a sorted set by score (see `add_item` in common.lua), which knows nothing of rules 3 and 4. So
-- each item also stands in a line. There is one line for each class and owner; a class is a priority with first tries
-- (even) or retries (odd). `4:anna` holds the first tries of anna with priority 3. The head of a line is its first item
-- by rule 6. Q:turns holds the lines that are not empty, in the order in which they are served: by class, then by turn.
-- A new line gets the next number as its turn, and so does a line that was served. Items without an owner have the
-- lines of the owner ''. A service with one user has one line per class, so rule 4 changes nothing there.
--
-- Rule 5 chooses inside the line that is served, so it changes no turns. When the model of the head is not loaded, the
-- first item of a loaded model goes out of its turn, if it is among the next hundred. Q:jumps:{line} holds the items
-- that did so. An item was overtaken by those in it that come after it by rule 6. Whatever overtakes an item that waits
-- also overtakes the head, so only the head is asked how often it was overtaken, and what comes before the head can be
-- forgotten. Three more rules keep the promise when items come back:
--   - An item that went out of its turn, came back and goes again counts once.
--   - An item that was claimed and came back is not overtaken as the head of its line: what overtook it earlier may be
--     forgotten. So rule 5 does nothing among retries.
--   - A leased item that went out of its turn keeps its lease although heads wait that it has overtaken; only a head
--     that came back takes its place. The worker decides nothing again: its loaded model at the claim is what counts.
-- So an item with n items before it in its line is served after n + max_overtakes claims of this line, however many
-- workers with different models there are.
--
-- The queue is the truth, and the lines are an index of it. A worker or an API of an older version changes the queue
-- only: an item may not stand in its line (`adopt` adds it), or may still stand in a line after it was claimed
-- (`next_item` removes it).

local PAGE = 100 -- how many items or lines a script touches at most in one call

local CLASS_SPAN = 2 ^ 40 -- more than there will be turns

local function line_key(queue, line) return queue .. ':line:' .. line end

local function jumps_key(queue, line) return queue .. ':jumps:' .. line end

local function class_of(line) return tonumber(string.sub(line, 1, 1)) end

local function owner_of(line) return string.sub(line, 3) end

-- The seconds since 1970 that a score in this line was made from.
local function seconds_of(line, score) return score / (math.floor(class_of(line) / 2) + 1) end

local function place_in_turns(line, turn) return class_of(line) * CLASS_SPAN + turn end

local function next_turn(queue) return redis.call('INCR', queue .. ':turn') end

-- Q:ages has the lines by the age of their heads, for rule 1.
local function note_age(queue, line, score) redis.call('ZADD', queue .. ':ages', seconds_of(line, score), line) end

-- To be called when a line has lost an item. Returns whether others are left.
local function note_new_head(queue, line)
  local head = redis.call('ZRANGE', line_key(queue, line), 0, 0, 'WITHSCORES')
  if head[1] then
    note_age(queue, line, head[2])
    return true
  end
  redis.call('ZREM', queue .. ':ages', line)
  redis.call('ZREM', queue .. ':turns', line)
  redis.call('DEL', jumps_key(queue, line))
  return false
end

local function leave_line(queue, line, member)
  if line and redis.call('ZREM', line_key(queue, line), member) == 1 then note_new_head(queue, line) end
end

-- Lets an item wait. It keeps its member and its score for life, so one that comes back is ahead of later ones of its
-- line. If it comes back as if nothing had happened, it has kept its turn, which its owner then has again.
local function put_back(queue, root, id)
  local item = redis.call('HMGET', item_key(queue, id), 'member', 'score', 'priority', 'failures', 'crashes', 'owner',
                          'line', 'turn')
  local member, score, owner = item[1], item[2], item[6]
  if not member then return end -- evicted or deleted by hand: it must not keep the others from coming back
  if not owner then
    owner = redis.pcall('HGET', record_key(root, id), 'owner')
    if type(owner) ~= 'string' then owner = '' end -- no record, or a faulty one
  end
  local class = (5 - item[3]) * 2 + (item[4] + item[5] > 0 and 1 or 0)
  local line = class .. ':' .. owner
  if item[7] ~= line then leave_line(queue, item[7], member) end
  local kept = item[7] == line and tonumber(item[8])
  local current = redis.call('ZSCORE', queue .. ':turns', line)
  if not current or kept and place_in_turns(line, kept) < tonumber(current) then
    redis.call('ZADD', queue .. ':turns', place_in_turns(line, kept or next_turn(queue)), line)
  end
  redis.call('HSET', item_key(queue, id), 'owner', owner, 'line', line, 'turn', '')
  redis.call('ZADD', queue, score, member)
  redis.call('ZADD', line_key(queue, line), score, member)
  if redis.call('ZRANGE', line_key(queue, line), 0, 0)[1] == member then note_age(queue, line, score) end
  wake(queue)
end

local function promote_due(queue, root, now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue .. ':delayed', '-inf', now, 'LIMIT', 0, PAGE)) do
    redis.call('ZREM', queue .. ':delayed', id)
    put_back(queue, root, id)
  end
end

-- Takes the head of a line for a claim. Returns the turn that its item keeps, in case that it comes back, or ''. A line
-- that is served by rule 1 is not served in its turn, and so keeps it.
local function serve(queue, line, member, is_overdue)
  local place = redis.call('ZSCORE', queue .. ':turns', line)
  redis.call('ZREM', queue, member)
  redis.call('ZREM', line_key(queue, line), member)
  if note_new_head(queue, line) and not is_overdue then
    redis.call('ZADD', queue .. ':turns', place_in_turns(line, next_turn(queue)), line)
  end
  return place and place - place_in_turns(line, 0) or ''
end

local function stands_in_line(queue, id, member)
  local line = redis.call('HGET', item_key(queue, id), 'line')
  return line and redis.call('ZSCORE', line_key(queue, line), member) and redis.call('ZSCORE', queue .. ':turns', line)
end

-- Whether a member of the queue is the present one of an item. If not, it is moved out of the way: another program has
-- written it, or the item was evicted.
local function is_item(queue, member, id)
  if redis.call('HGET', item_key(queue, id), 'member') == member then return true end
  local score = redis.call('ZSCORE', queue, member)
  if score then
    redis.call('ZADD', queue .. ':foreign', score, member)
    redis.call('ZREM', queue, member)
  end
  return false
end

-- Adds those of `members`, which wait in the queue, to their lines that do not stand there yet.
local function adopt(queue, root, members)
  for _, member in ipairs(members) do
    local id = string.sub(member, 18)
    if is_item(queue, member, id) and not stands_in_line(queue, id, member) then put_back(queue, root, id) end
  end
end

-- Q:running:{owner} has the leased items of an owner, from claims that were limited. `ignored` is an item whose lease
-- does not count, or nil. Items whose lease was ended by an older version are dropped.
local function is_at_limit(queue, owner, max_running, ignored)
  local running = queue .. ':running:' .. owner
  if max_running == 0 or owner == '' or redis.call('ZCARD', running) < max_running then return false end
  for _, id in ipairs(redis.call('ZRANGE', running, 0, PAGE - 1)) do
    if not redis.call('ZSCORE', queue .. ':lease', id) then redis.call('ZREM', running, id) end
  end
  local count = redis.call('ZCARD', running)
  if ignored and redis.call('ZSCORE', running, ignored) then count = count - 1 end
  return count >= max_running
end

-- The first line of Q:turns or Q:ages, up to a score, whose owner is not at the limit. Lines of owners at the limit are
-- passed over one by one; there are no more such owners than leases.
local function first_line(queue, index, up_to, max_running, ignored)
  local start, lines = 0, nil
  repeat
    lines = redis.call('ZRANGEBYSCORE', queue .. index, '-inf', up_to, 'LIMIT', start, 10)
    for _, line in ipairs(lines) do
      if not is_at_limit(queue, owner_of(line), max_running, ignored) then return line end
    end
    start = start + #lines
  until #lines < 10
end

local function overdue_since(now, max_wait_s) return math.floor(now / 1000) - max_wait_s end

-- The item that a claim takes now: its line, member and id, and whether rule 1 chose it. nil when there is none, or
-- none is found by looking at a page of what an older version has left; then a worker is woken to go on.
local function next_item(queue, root, now, max_wait_s, max_running, ignored)
  promote_due(queue, root, now)
  local has_adopted = false
  for _ = 1, PAGE do
    local line = max_wait_s > 0 and first_line(queue, ':ages', overdue_since(now, max_wait_s), max_running, ignored)
    local is_overdue = line and true or false
    line = line or first_line(queue, ':turns', '+inf', max_running, ignored)
    local member = line and redis.call('ZRANGE', line_key(queue, line), 0, 0)[1]
    local first = redis.call('ZRANGE', queue, 0, 0)[1]
    if first and first ~= member and not (has_adopted or stands_in_line(queue, string.sub(first, 18), first)) then
      has_adopted = true
      adopt(queue, root, redis.call('ZRANGE', queue, 0, PAGE - 1))
    elseif not line then
      return nil
    elseif not member then
      note_new_head(queue, line)
    else
      local id = string.sub(member, 18)
      local waits = member == first or redis.call('ZSCORE', queue, member)
      if waits and is_item(queue, member, id) then return line, member, id, is_overdue end
      leave_line(queue, line, member)
    end
  end
  wake(queue)
end

-- Whether one item comes before another of the same line, by rule 6. An item is {score, member}.
local function is_earlier(one, other)
  local score, other_score = tonumber(one[1]), tonumber(other[1])
  return score < other_score or score == other_score and one[2] < other[2]
end

local function was_claimed(queue, id) return redis.call('HGET', item_key(queue, id), 'attempt') ~= '0' end

-- The record's field `models`; '' when there is none, or the record is faulty.
local function models_of(root, id)
  local models = redis.pcall('HGET', record_key(root, id), 'models')
  return type(models) == 'string' and models or ''
end

-- How many items other than `member` have overtaken the head of a line, an item {score, member}. Forgets those that
-- come before it, so no more than `max_overtakes` are kept.
local function overtakes(queue, line, head, member)
  local count, jumps = 0, redis.call('ZRANGE', jumps_key(queue, line), 0, -1, 'WITHSCORES')
  for number = 1, #jumps, 2 do
    if not is_earlier(head, {jumps[number + 1], jumps[number]}) then
      redis.call('ZREM', jumps_key(queue, line), jumps[number])
    elseif jumps[number] ~= member then
      count = count + 1
    end
  end
  return count
end

-- The item that a claim takes from a line by rule 5, one that goes out of its turn or the head: its member, its id and
-- its models. `loaded` has the texts of the loaded models as keys.
local function next_of_loaded(queue, root, line, head, loaded, max_overtakes)
  local head_id = string.sub(head, 18)
  local head_models = models_of(root, head_id)
  if loaded[head_models] or was_claimed(queue, head_id) then return head, head_id, head_models end
  local items = redis.call('ZRANGE', line_key(queue, line), 0, PAGE - 1, 'WITHSCORES')
  for number = 3, #items, 2 do
    local member, id = items[number], string.sub(items[number], 18)
    local models = models_of(root, id)
    if loaded[models] and redis.call('ZSCORE', queue, member) and is_item(queue, member, id) then
      if overtakes(queue, line, {items[2], head}, member) >= max_overtakes then break end
      redis.call('ZADD', jumps_key(queue, line), items[number + 1], member)
      return member, id, models
    end
  end
  return head, head_id, head_models
end

-- Whether a claim would take another item than the leased one, if that waited again at its old place.
local function goes_before(queue, root, id, now, max_wait_s, max_running)
  local line, member, _, is_overdue = next_item(queue, root, now, max_wait_s, max_running, id)
  if not line then return false end
  local leased = redis.call('HMGET', item_key(queue, id), 'score', 'member', 'line', 'turn')
  local own_line, turn = leased[3], tonumber(leased[4])
  if not turn then return false end
  local first = {redis.call('ZSCORE', queue, member), member}
  local since = seconds_of(own_line, leased[1])
  local leased_is_overdue = max_wait_s > 0 and since <= overdue_since(now, max_wait_s)
  if is_overdue ~= leased_is_overdue then return is_overdue end

  local function is_passed_by(head) -- of its own line
    if not is_earlier(head, leased) then return false end
    local has_jumped = not is_overdue and redis.call('ZSCORE', jumps_key(queue, own_line), leased[2])
    return not has_jumped or was_claimed(queue, string.sub(head[2], 18))
  end

  if line == own_line then return is_passed_by(first) end
  if is_overdue then
    local first_since = seconds_of(line, first[1])
    return first_since < since or first_since == since and line < own_line
  end
  if tonumber(redis.call('ZSCORE', queue .. ':turns', line)) < place_in_turns(own_line, turn) then return true end
  local head = redis.call('ZRANGE', line_key(queue, own_line), 0, 0, 'WITHSCORES')
  return head[1] and is_passed_by({head[2], head[1]})
end

-- How many items go before this one by rules 2, 3, 4 and 6, nil when it does not wait. Of each class at most a page of
-- lines is read, and the others count like those.
local function items_before(queue, id)
  local item = redis.call('HMGET', item_key(queue, id), 'member', 'line', 'priority')
  local rank = item[1] and redis.call('ZRANK', queue, item[1])
  if not rank then return nil end
  local own_line = item[2]
  local own_rank = own_line and redis.call('ZRANK', line_key(queue, own_line), item[1])
  if not own_rank then return rank end -- an older version added it

  -- The sum of `count(length, turn)` over the lines of a class.
  local function sum_over(class, count)
    local from, to = class * CLASS_SPAN, '(' .. (class + 1) * CLASS_SPAN
    local lines = redis.call('ZRANGEBYSCORE', queue .. ':turns', from, to, 'WITHSCORES', 'LIMIT', 0, PAGE)
    local sum = 0
    for number = 1, #lines, 2 do
      sum = sum + count(redis.call('ZCARD', line_key(queue, lines[number])), tonumber(lines[number + 1]))
    end
    return math.floor(sum * redis.call('ZCOUNT', queue .. ':turns', from, to) / math.max(1, #lines / 2))
  end

  local class, turn = class_of(own_line), tonumber(redis.call('ZSCORE', queue .. ':turns', own_line))
  local seconds = redis.call('TIME')[1]
  local higher = redis.call('ZCOUNT', queue, '-inf', seconds * (5 - item[3]))
  local first_tries = class % 2 == 1 and sum_over(class - 1, function(length) return length end) or 0
  local in_class = sum_over(class, function(length, its_turn)
    if its_turn == turn then return own_rank end
    return math.min(length, its_turn < turn and own_rank + 1 or own_rank)
  end)
  return higher + first_tries + in_class
end
