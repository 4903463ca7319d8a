-- What all scripts begin with: the time, the tasks that a script touches, and the sets in which they stand.
-- A script reads and decides first. Nothing is written before flush(), which writes everything in a few commands.

-- The places in a task's progress, which is kept as a MessagePack array. A time of 0 is none.
local STATE, PRIORITY, DUE, CLAIM_NUMBER, ATTEMPTS, DEATHS, SUSPECT = 1, 2, 3, 4, 5, 6, 7
local OWNER, CONSUMER, STAGED_AT, PUBLISHED_AT = 8, 9, 10, 11
local FIRST_CLAIMED_AT, CLAIMED_AT, FINISHED_AT, SIZE = 12, 13, 14, 15

local meta = redis.call('HMGET', KEY.meta, 'schema', 'paused', 'hungry')
if meta[1] and meta[1] ~= SCHEMA then
  return redis.error_reply('SCHEMA ' .. meta[1])
end
local paused, hungry = meta[2] == '1', meta[3] == '1'

local time = redis.call('TIME')
local NOW = tonumber(time[1]) + tonumber(time[2]) / 1e6
local NOW_TEXT = string.format('%.17g', NOW) -- as Redis would write it, each time anew

local SLICE = 4000 -- Lua passes no more arguments than some 8,000 at once

local tasks = {} -- id -> its progress as it is after what was decided so far; false for an unknown one
local changed = {} -- those of them that are to be stored
local packed = {} -- id -> its progress as it was stored last
local pending = {ZREM = {}, HDEL = {}, ZADD = {}, HSET = {}} -- command -> key -> arguments

local function put(command, key, first, second)
  local arguments = pending[command][key]
  if not arguments then
    arguments = {}
    pending[command][key] = arguments
  end
  local count = #arguments
  arguments[count + 1] = first
  if second then
    arguments[count + 2] = second
  end
end

-- What a task leaves is taken away before anything is added.
local function flush()
  for id, task in pairs(changed) do
    packed[id] = cmsgpack.pack(task)
    put('HSET', KEY.progress, id, packed[id])
  end
  changed = {}
  local has_written = false
  for _, command in ipairs({'ZREM', 'HDEL', 'ZADD', 'HSET'}) do
    for key, arguments in pairs(pending[command]) do
      for first = 1, #arguments, SLICE do
        redis.call(command, key, unpack(arguments, first, math.min(first + SLICE - 1, #arguments)))
      end
      has_written = true
    end
    pending[command] = {}
  end
  if has_written and not meta[1] then
    redis.call('HSET', KEY.meta, 'schema', SCHEMA)
    meta[1] = SCHEMA
  end
end

-- Call one command with some keys' members or fields, and use(member, answer) with each of its answers.
local function ask(command, key, ids, use)
  for first = 1, #ids, SLICE do
    local last = math.min(first + SLICE - 1, #ids)
    local answers = redis.call(command, key, unpack(ids, first, last))
    for index = first, last do
      use(ids[index], answers[index - first + 1])
    end
  end
end

-- A task's progress as it was packed; an error for what is none, since somebody else may have written there.
local function unpacked(found)
  local task = cmsgpack.unpack(found)
  local numbers = task[DUE] + task[CLAIM_NUMBER] + task[ATTEMPTS] + task[DEATHS] + task[SUSPECT] + task[STAGED_AT]
    + task[PUBLISHED_AT] + task[FIRST_CLAIMED_AT] + task[CLAIMED_AT] + task[FINISHED_AT] + task[SIZE]
  local words = task[OWNER] .. task[CONSUMER] .. task[STATE]
  return tonumber(task[PRIORITY]) and numbers and words and task
end

local function load(ids)
  local missing = {}
  for _, id in ipairs(ids) do
    if tasks[id] == nil then
      tasks[id] = false
      missing[#missing + 1] = id
    end
  end
  ask('HMGET', KEY.progress, missing, function(id, found)
    if found then
      local is_sound, task = pcall(unpacked, found)
      if is_sound and task then
        packed[id] = found
        tasks[id] = task
      end
    end
  end)
end

-- Those of the ids that there are. Of a store that lost a part, or was written to by somebody else, more may be left in
-- these sets: it is taken out of them, and keeps nobody from running.
local function known(ids, ...)
  local found = {}
  load(ids)
  for _, id in ipairs(ids) do
    if tasks[id] then
      found[#found + 1] = id
    else
      for _, key in ipairs({...}) do
        put('ZREM', key, id)
      end
    end
  end
  return found
end

-- Take a task out of the sets of its state. Its owner and the like must still be as they were when it was entered.
local function leave(id, task)
  local state = task[STATE]
  if state == 'staged' then
    put('ZREM', KEY.staged, task[OWNER] .. '\0' .. id)
  elseif state == 'running' then
    put('ZREM', KEY.running, task[OWNER] .. '\0' .. task[CONSUMER] .. '\0' .. id)
  else
    put('ZREM', KEY[state], id)
  end
  if state == 'held' then
    put('ZREM', KEY.held_by, task[OWNER] .. '\0' .. id)
  elseif state == 'ready' then
    put('ZREM', task[SUSPECT] == 1 and KEY.suspects or KEY.line, id)
    put('ZREM', KEY.since, id)
  elseif state == 'scheduled' then
    put('ZREM', KEY.due, id)
  elseif state == 'done' then
    put('ZREM', KEY.done_at, id)
  elseif state == 'dead' then
    put('ZREM', KEY.dead_at, id)
    put('ZREM', KEY.exposed, id)
  end
end

-- A time as a score.
local function moment(at)
  return at == NOW and NOW_TEXT or at
end

-- Put a task into a state, and into the sets of it.
local function enter(id, task, state)
  task[STATE] = state
  tasks[id], changed[id] = task, task
  if state == 'staged' then
    put('ZADD', KEY.staged, '0', task[OWNER] .. '\0' .. id)
  elseif state == 'running' then
    put('ZADD', KEY.running, '0', task[OWNER] .. '\0' .. task[CONSUMER] .. '\0' .. id)
  else
    put('ZADD', KEY[state], '0', id)
  end
  if state == 'held' then
    put('ZADD', KEY.held_by, '0', task[OWNER] .. '\0' .. id)
  elseif state == 'ready' then
    put('ZADD', task[SUSPECT] == 1 and KEY.suspects or KEY.line, -tonumber(task[PRIORITY]), id)
    put('ZADD', KEY.since, moment(math.max(task[PUBLISHED_AT], task[DUE])), id)
  elseif state == 'scheduled' then
    put('ZADD', KEY.due, task[DUE], id)
  elseif state == 'done' then
    put('ZADD', KEY.done_at, moment(task[FINISHED_AT]), id)
  elseif state == 'dead' then
    put('ZADD', KEY.dead_at, moment(task[FINISHED_AT]), id)
  end
end

-- Remember that a dead task still has its secrets, so that they are wiped in time.
local function expose(id, task)
  if redis.call('HEXISTS', KEY.secrets, id) == 1 then
    put('ZADD', KEY.exposed, task[FINISHED_AT], id)
  end
end

-- Let a task go, and remember its id.
local function forget(id, task)
  leave(id, task)
  for _, key in ipairs({KEY.progress, KEY.body, KEY.secrets, KEY.outcome, KEY.envelope}) do
    put('HDEL', key, id)
  end
  put('ZADD', KEY.gone, NOW, id)
  tasks[id] = false
end

-- Which of these ids were let go within the hour.
local function gone_of(ids)
  local gone = {}
  ask('ZMSCORE', KEY.gone, ids, function(id, gone_at)
    gone[id] = gone_at and tonumber(gone_at) > NOW - GONE_SECONDS
  end)
  return gone
end

-- A record that the store has never seen, and that is not yet in any state.
local function new_task(id, priority, due, body, has_secrets, secrets)
  put('HSET', KEY.body, id, body)
  if has_secrets == '1' then
    put('HSET', KEY.secrets, id, secrets)
  end
  return {'', priority, tonumber(due), 0, 0, 0, 0, '', '', 0, 0, 0, 0, 0, math.max(1, #body + #secrets)}
end

-- Make runnable what is new, staged or held.
local function publish(id, task)
  if task[STATE] ~= '' then
    leave(id, task)
    put('HDEL', KEY.envelope, id)
  end
  task[OWNER] = ''
  task[PUBLISHED_AT] = NOW
  enter(id, task, task[DUE] > NOW and 'scheduled' or 'ready')
end

-- Make ready what is due. Returns whether anything was.
local function promote()
  local ids = redis.call('ZRANGEBYSCORE', KEY.due, '-inf', NOW, 'LIMIT', 0, PROMOTE_LIMIT)
  for _, id in ipairs(known(ids, KEY.due, KEY.scheduled)) do
    leave(id, tasks[id])
    enter(id, tasks[id], 'ready')
  end
  flush()
  return #ids > 0
end

-- Seconds until the next scheduled task is due, as text; empty when there is none.
local function next_due()
  local first = redis.call('ZRANGE', KEY.due, 0, 0, 'WITHSCORES')
  return first[2] and string.format('%.17g', math.max(0, tonumber(first[2]) - NOW)) or ''
end

-- Tell consumers that wait, if there are any. The last thing that a script does: all of it holds if this is refused.
local function hint()
  if redis.call('HDEL', KEY.meta, 'hungry') == 1 then
    hungry = false
    redis.pcall('PUBLISH', KEY.meta, 'hint')
  end
end

-- Whether there is anything in the name of an owner. The keys are of sets that stand by owner.
local function is_in_the_name_of(owner, ...)
  for _, key in ipairs({...}) do
    if redis.call('ZRANGEBYLEX', key, '[' .. owner .. '\0', '(' .. owner .. '\1', 'LIMIT', 0, 1)[1] then
      return true
    end
  end
  return false
end

-- Whole records, in columns: ids, progresses, bodies, secrets, outcomes, envelopes. What is missing is false. The parts
-- go out as they came: Lua goes over each byte of each string that it makes, so that putting them together costs more
-- than all the rest of a claim.
local function records_of(ids, with_outcomes, has_envelopes)
  local progresses = {}
  for index, id in ipairs(ids) do
    progresses[index] = packed[id]
  end
  local columns = {ids, progresses, {}, {}, {}, {}}
  if #ids > 0 then
    columns[3] = redis.call('HMGET', KEY.body, unpack(ids))
    columns[4] = redis.call('HMGET', KEY.secrets, unpack(ids))
    columns[5] = with_outcomes and redis.call('HMGET', KEY.outcome, unpack(ids)) or {}
    columns[6] = has_envelopes and redis.call('HMGET', KEY.envelope, unpack(ids)) or {}
  end
  return columns
end
