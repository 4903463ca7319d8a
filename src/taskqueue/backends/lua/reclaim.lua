#!lua flags=allow-oom
-- Take tasks back from owners that have not beaten since they were looked at. Returns the ids that were taken.
-- keys: meta progress secrets outcome owners staged held held_by ready line suspects since running dead dead_at exposed
-- arguments: how many owners; of each its id and its row as it was seen or ''; of each task: id, owner, claim number,
-- state to be in, deaths, 1 if it has an outcome, outcome
local silent = {}
local first_task = 2 + 2 * tonumber(ARGV[1])
for index = 2, first_task - 1, 2 do
  local row = redis.call('HGET', KEY.owners, ARGV[index])
  if (row or '') == ARGV[index + 1] then
    silent[ARGV[index]] = true
    local owner = row and cmsgpack.unpack(row)
    if owner and owner[4] ~= 1 then
      owner[4] = 1
      put('HSET', KEY.owners, ARGV[index], cmsgpack.pack(owner))
    end
  end
end
local ids, taken = {}, {}
for index = first_task, #ARGV, 7 do
  ids[#ids + 1] = ARGV[index]
end
load(ids)
for index = first_task, #ARGV, 7 do
  local id, owner, claim_number, state, deaths, has_outcome, outcome = unpack(ARGV, index, index + 6)
  local task = tasks[id]
  local is_held = task and silent[owner] and task[OWNER] == owner and task[CLAIM_NUMBER] == tonumber(claim_number)
  if is_held and task[STATE] == 'staged' then
    leave(id, task)
    enter(id, task, 'held')
    taken[#taken + 1] = id
  elseif is_held and task[STATE] == 'running' then
    leave(id, task)
    task[DEATHS], task[SUSPECT] = tonumber(deaths), 1
    task[OWNER], task[CONSUMER] = '', ''
    if has_outcome == '1' then
      put('HSET', KEY.outcome, id, outcome)
    end
    if state == 'dead' then
      task[FINISHED_AT] = NOW
    end
    enter(id, task, state)
    if state == 'dead' then
      expose(id, task)
    end
    taken[#taken + 1] = id
  end
end
flush()
if #taken > 0 then
  hint()
end
return taken
