#!lua flags=allow-oom
-- Let finished tasks go that were kept long enough, wipe the secrets of the dead, forget ids and owners of long ago.
-- Of each sort a bounded number; returns how many done, dead and wiped.
-- keys: meta progress body secrets outcome envelope staged held_by running done done_at dead dead_at exposed gone owners
-- arguments: seconds to keep done tasks, how many of them, seconds to keep dead ones or '', and their secrets
local keep_done, keep_count, keep_dead, keep_secrets =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

-- The oldest of a set by time, as far as they are over a number or older than a time.
local function oldest(key, surplus, before)
  local found, ids = redis.call('ZRANGE', key, 0, PRUNE_LIMIT - 1, 'WITHSCORES'), {}
  for index = 1, #found, 2 do
    if #ids >= surplus and tonumber(found[index + 1]) > before then
      break
    end
    ids[#ids + 1] = found[index]
  end
  return ids
end

local function forget_all(ids, ...)
  for _, id in ipairs(known(ids, ...)) do
    forget(id, tasks[id])
  end
  flush()
  return #ids
end

local old_done = oldest(KEY.done_at, redis.call('ZCARD', KEY.done_at) - keep_count, NOW - keep_done)
local old_dead = keep_dead and oldest(KEY.dead_at, 0, NOW - keep_dead) or {}
local done, dead = forget_all(old_done, KEY.done_at, KEY.done), forget_all(old_dead, KEY.dead_at, KEY.dead, KEY.exposed)
local exposed = oldest(KEY.exposed, 0, NOW - keep_secrets)
for _, id in ipairs(exposed) do
  put('HDEL', KEY.secrets, id)
  put('ZREM', KEY.exposed, id)
end
local old = redis.call('ZRANGEBYSCORE', KEY.gone, '-inf', NOW - GONE_SECONDS, 'LIMIT', 0, GONE_PRUNE_LIMIT)
for _, id in ipairs(old) do
  put('ZREM', KEY.gone, id)
end
local rows = redis.call('HGETALL', KEY.owners)
for index = 1, #rows, 2 do
  local owner = cmsgpack.unpack(rows[index + 1])
  local is_old = owner[4] > 0 and owner[2] <= NOW - GONE_SECONDS
  if is_old and not is_in_the_name_of(rows[index], KEY.staged, KEY.held_by, KEY.running) then
    put('HDEL', KEY.owners, rows[index])
  end
end
flush()
return {done, dead, #exposed}
