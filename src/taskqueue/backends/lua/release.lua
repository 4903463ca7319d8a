#!lua flags=allow-oom
-- Give back what runs in one consumer's name, but for what it knows of; nothing is spent. Returns how many.
-- keys: meta progress ready line suspects since running
-- arguments: owner, consumer, ids that it knows of
local prefix = ARGV[1] .. '\0' .. ARGV[2]
local kept = {}
for index = 3, #ARGV do
  kept[ARGV[index]] = true
end
local ids = {}
for _, member in ipairs(redis.call('ZRANGEBYLEX', KEY.running, '[' .. prefix .. '\0', '(' .. prefix .. '\1')) do
  local id = string.sub(member, #prefix + 2)
  if not kept[id] then
    ids[#ids + 1] = id
  end
end
ids = known(ids)
for _, id in ipairs(ids) do
  local task = tasks[id]
  leave(id, task)
  if task[FIRST_CLAIMED_AT] == task[CLAIMED_AT] then
    task[FIRST_CLAIMED_AT] = 0
  end
  task[OWNER], task[CONSUMER] = '', ''
  enter(id, task, 'ready')
end
flush()
if #ids > 0 then
  hint()
end
return #ids
