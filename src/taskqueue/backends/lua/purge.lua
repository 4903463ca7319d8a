#!lua flags=allow-oom
-- Let go some of the tasks in these states. Returns how many.
-- keys: meta progress body secrets outcome envelope scheduled due ready line suspects since done done_at dead dead_at exposed gone
-- arguments: at most so many, states
local ids = {}
for index = 2, #ARGV do
  local left = tonumber(ARGV[1]) - #ids
  if left > 0 then
    local key = KEY[ARGV[index]]
    for _, id in ipairs(known(redis.call('ZRANGE', key, 0, left - 1), key)) do
      ids[#ids + 1] = id
      forget(id, tasks[id])
    end
  end
end
flush()
return #ids
