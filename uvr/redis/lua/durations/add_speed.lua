-- Adds how fast models worked on a song, and keeps the latest speeds of each model only.
-- KEYS: hash of model -> speeds with spaces, newest first. ARGV: speed, how many to keep, models.

run_when_full()
for index = 3, #ARGV do
  local speeds, kept = { ARGV[1] }, tonumber(ARGV[2])
  for speed in string.gmatch(redis.call('HGET', KEYS[1], ARGV[index]) or '', '%S+') do
    if #speeds < kept then table.insert(speeds, speed) end
  end
  redis.call('HSET', KEYS[1], ARGV[index], table.concat(speeds, ' '))
end
