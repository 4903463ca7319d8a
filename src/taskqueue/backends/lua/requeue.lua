#!lua
-- Start over with tasks that are dead or scheduled; what is wiped cannot run. Returns the ids of those that are ready.
-- keys: meta progress secrets scheduled due ready line suspects since dead dead_at exposed
-- arguments: ids
local requeued = {}
load(ARGV)
for _, id in ipairs(ARGV) do
  local task = tasks[id]
  local state = task and task[STATE]
  if (state == 'dead' or state == 'scheduled') and redis.call('HEXISTS', KEY.secrets, id) == 1 then
    leave(id, task)
    task[DUE] = NOW
    task[ATTEMPTS], task[DEATHS], task[SUSPECT] = 0, 0, 0
    task[FIRST_CLAIMED_AT], task[FINISHED_AT] = 0, 0
    enter(id, task, 'ready')
    requeued[#requeued + 1] = id
  end
end
flush()
if #requeued > 0 then
  hint()
end
return requeued
