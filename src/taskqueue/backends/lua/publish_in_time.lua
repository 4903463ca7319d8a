#!lua flags=allow-oom
-- Make runnable what is staged or held. Returns 1; 0, and changes nothing, when one is unknown, or the newest was staged
-- too long ago.
-- keys: meta progress envelope staged held held_by scheduled due ready line suspects since gone
-- arguments: for how many seconds it may have been staged, ids
local ids = {unpack(ARGV, 2)}
load(ids)
local waiting, missing, newest = {}, {}, NOW
for _, id in ipairs(ids) do
  local task = tasks[id]
  if not task then
    missing[#missing + 1] = id
  elseif task[STATE] == 'staged' or task[STATE] == 'held' then
    newest = waiting[1] and math.max(newest, task[STAGED_AT]) or task[STAGED_AT]
    waiting[#waiting + 1] = id
  end
end
local gone = gone_of(missing)
for _, id in ipairs(missing) do
  if not gone[id] then
    return 0
  end
end
if NOW - newest > tonumber(ARGV[1]) then
  return 0
end
for _, id in ipairs(waiting) do
  publish(id, tasks[id])
end
flush()
hint()
return 1
