#!lua flags=allow-oom
-- Publish or hold what is in doubt. Returns how many changed.
-- keys: meta progress envelope staged held held_by scheduled due ready line suspects since
-- arguments: the verdict, ids
local verdict = ARGV[1]
local count = 0
local ids = {unpack(ARGV, 2)}
load(ids)
for _, id in ipairs(ids) do
  local task = tasks[id]
  if task and verdict == 'publish' and (task[STATE] == 'staged' or task[STATE] == 'held') then
    publish(id, task)
    count = count + 1
  elseif task and verdict == 'hold' and task[STATE] == 'staged' then
    leave(id, task)
    enter(id, task, 'held')
    count = count + 1
  end
end
flush()
if verdict == 'publish' and count > 0 then
  hint()
end
return count
