#!lua
-- Put new records aside, all or none. Ids that are known, or gone within the hour, stay as they are.
-- Returns how many tasks would wait when that is more than the limit, and 0 when it is done.
-- keys: meta progress body secrets envelope staged held scheduled ready gone
-- arguments: owner, envelope, limit or '', and of each record: id, priority, due, body, 1 if it has secrets, secrets
local owner, envelope, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local ids = {}
for index = 4, #ARGV, 6 do
  ids[#ids + 1] = ARGV[index]
end
load(ids)
local gone = gone_of(ids)
local count = 0
for index, id in ipairs(ids) do
  if not tasks[id] and not gone[id] then
    local task = new_task(id, unpack(ARGV, index * 6 - 1, index * 6 + 3))
    task[OWNER] = owner
    task[STAGED_AT] = NOW
    enter(id, task, 'staged')
    put('HSET', KEY.envelope, id, envelope)
    count = count + 1
  end
end
if limit and count > 0 then
  for _, key in ipairs({KEY.staged, KEY.held, KEY.scheduled, KEY.ready}) do
    count = count + redis.call('ZCARD', key)
  end
  if count > limit then
    return count
  end
end
flush()
return 0
