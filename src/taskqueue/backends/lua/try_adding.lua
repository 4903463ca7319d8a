#!lua
-- Write as stage does, and take it back. What is to be taken back is tried first: whoever lacks that right leaves nothing.
-- Returns how many tasks would wait when that is more than the limit, and 0 when it was written.
-- keys: meta progress body secrets envelope staged held scheduled ready
-- arguments: limit or '', an id that no task has, anything
local limit, id, filling = tonumber(ARGV[1]), ARGV[2], ARGV[3]
if limit then
  local count = 1
  for _, key in ipairs({KEY.staged, KEY.held, KEY.scheduled, KEY.ready}) do
    count = count + redis.call('ZCARD', key)
  end
  if count > limit then
    return count
  end
end
for _, key in ipairs({KEY.progress, KEY.body, KEY.secrets, KEY.envelope}) do
  redis.call('HDEL', key, id)
  redis.call('HSET', key, id, filling)
  redis.call('HDEL', key, id)
end
redis.call('ZREM', KEY.staged, id)
redis.call('ZADD', KEY.staged, '0', id)
redis.call('ZREM', KEY.staged, id)
return 0
