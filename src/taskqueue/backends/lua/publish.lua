#!lua flags=allow-oom
-- Make records runnable. What is not stored is stored; what is neither staged nor held, or gone, stays as it is.
-- keys: meta progress body secrets envelope staged held held_by scheduled due ready line suspects since gone
-- arguments: of each record: id, priority, due, body, 1 if it has secrets, secrets
local ids = {}
for index = 1, #ARGV, 6 do
  ids[#ids + 1] = ARGV[index]
end
load(ids)
local gone = gone_of(ids)
for index, id in ipairs(ids) do
  local task = tasks[id]
  if not task and not gone[id] then
    publish(id, new_task(id, unpack(ARGV, index * 6 - 4, index * 6)))
  elseif task and (task[STATE] == 'staged' or task[STATE] == 'held') then
    publish(id, task)
  end
end
flush()
hint()
return 1
