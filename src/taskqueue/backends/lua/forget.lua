#!lua flags=allow-oom
-- Let tasks go that are in one of these states. Returns their ids.
-- keys: meta progress body secrets outcome envelope staged held held_by scheduled due ready line suspects since running done done_at dead dead_at exposed gone
-- arguments: states, separated by blanks, ids
local states = {}
for state in string.gmatch(ARGV[1], '%S+') do
  states[state] = true
end
local ids = {unpack(ARGV, 2)}
local forgotten = {}
load(ids)
for _, id in ipairs(ids) do
  local task = tasks[id]
  if task and states[task[STATE]] then
    forget(id, task)
    forgotten[#forgotten + 1] = id
  end
end
flush()
return forgotten
