#!lua flags=no-writes,allow-oom
-- Some of what these owners staged or run. Returns the time, and of each: id, state, owner, claim number, suspect, deaths.
-- keys: meta progress staged running
-- arguments: at most so many, owners
local ids, held = {}, {}
for index = 2, #ARGV do
  for _, key in ipairs({KEY.staged, KEY.running}) do
    local left = tonumber(ARGV[1]) - #ids
    local from, to = '[' .. ARGV[index] .. '\0', '(' .. ARGV[index] .. '\1'
    for _, member in ipairs(redis.call('ZRANGEBYLEX', key, from, to, 'LIMIT', 0, left)) do
      local id = string.sub(member, #ARGV[index] + 2)
      ids[#ids + 1] = key == KEY.running and string.sub(id, string.find(id, '%z') + 1) or id
    end
  end
end
for _, id in ipairs(known(ids)) do
  local task = tasks[id]
  for _, field in ipairs({id, task[STATE], task[OWNER], task[CLAIM_NUMBER], task[SUSPECT], task[DEATHS]}) do
    held[#held + 1] = field
  end
end
return {NOW_TEXT, held}
