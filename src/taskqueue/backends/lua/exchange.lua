#!lua flags=allow-oom
-- Take in what became of claims, promote what is due, and claim more.
-- keys: meta progress body secrets outcome scheduled due ready line suspects since running done done_at dead dead_at exposed
-- arguments: owner, consumer, wanted, 1 if the consumer runs nothing else, settlements as a MessagePack array, outcomes
-- Each settlement: id, claim number, state, delay, attempts, wipe, started, the number of its outcome or 0.
-- Returns the refused ids, whether a suspect waits, the seconds until the next is due, whether the queue is paused, and
-- what is claimed.
local owner, consumer, wanted, alone = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local refused, gives_back, was_claimed = {}, false, false

local function settle(id, state, delay, attempts, wipe, started, outcome)
  local task = tasks[id]
  leave(id, task)
  task[OWNER], task[CONSUMER] = '', ''
  task[ATTEMPTS] = task[ATTEMPTS] + attempts
  if started then
    task[SUSPECT] = 0
  elseif task[FIRST_CLAIMED_AT] == task[CLAIMED_AT] then
    task[FIRST_CLAIMED_AT] = 0
  end
  if outcome > 0 then
    put('HSET', KEY.outcome, id, ARGV[5 + outcome])
  end
  if wipe then
    put('HDEL', KEY.secrets, id)
  end
  if state == 'scheduled' then
    task[DUE] = NOW + math.max(0, delay)
  elseif state == 'done' or state == 'dead' then
    task[FINISHED_AT] = NOW
  end
  enter(id, task, state)
  if state == 'dead' and not wipe then
    expose(id, task)
  end
end

local function settle_all(settlements)
  local ids = {}
  for index, settlement in ipairs(settlements) do
    ids[index] = settlement[1]
  end
  load(ids)
  for _, settlement in ipairs(settlements) do
    local id, claim_number, state = settlement[1], settlement[2], settlement[3]
    local task = tasks[id]
    if task and task[STATE] == 'running' and task[CLAIM_NUMBER] == claim_number then
      settle(id, unpack(settlement, 3))
      gives_back = gives_back or state == 'ready' or state == 'scheduled'
    else
      refused[#refused + 1] = id
    end
  end
  flush()
end

-- Whether one string comes before another, byte by byte: Lua itself would go by the server's locale.
local function is_before(left, right)
  for place = 1, math.min(#left, #right) do
    local difference = string.byte(left, place) - string.byte(right, place)
    if difference ~= 0 then
      return difference < 0
    end
  end
  return #left < #right
end

local function choose()
  if paused or wanted < 1 then
    return {}
  end
  local line = redis.call('ZRANGE', KEY.line, 0, wanted - 1, 'WITHSCORES')
  local suspect = alone and redis.call('ZRANGE', KEY.suspects, 0, 0, 'WITHSCORES') or {}
  if suspect[1] and line[1] then
    local score, line_score = tonumber(suspect[2]), tonumber(line[2])
    if score < line_score or (score == line_score and is_before(suspect[1], line[1])) then
      return {suspect[1]}
    end
  elseif suspect[1] then
    return {suspect[1]}
  end
  local ids = {}
  for index = 1, #line, 2 do
    ids[#ids + 1] = line[index]
  end
  return ids
end

local function claim(ids)
  local claimed, bytes = {}, 0
  for _, id in ipairs(known(ids, KEY.line, KEY.suspects, KEY.ready, KEY.since)) do
    local task = tasks[id]
    if bytes > 0 and bytes + task[SIZE] > CLAIM_BYTES_LIMIT then
      break
    end
    bytes = bytes + task[SIZE]
    was_claimed = was_claimed or task[CLAIM_NUMBER] ~= 0
    leave(id, task)
    task[CLAIM_NUMBER] = task[CLAIM_NUMBER] + 1
    task[OWNER], task[CONSUMER] = owner, consumer
    task[CLAIMED_AT] = NOW
    if task[FIRST_CLAIMED_AT] == 0 then
      task[FIRST_CLAIMED_AT] = NOW
    end
    enter(id, task, 'running')
    claimed[#claimed + 1] = id
  end
  flush()
  return claimed
end

settle_all(cmsgpack.unpack(ARGV[5]))
promote()
local chosen = choose()
local claimed = claim(chosen)
if gives_back then
  hint()
end
-- Who wants more than there is waits for a hint; it is written down once, so that those who are idle write nothing.
if #chosen == #claimed and #claimed < wanted and not hungry then
  redis.call('HSET', KEY.meta, 'hungry', '1')
end
local suspects_wait = redis.call('ZCARD', KEY.suspects) > 0 and 1 or 0
-- What nobody has claimed before has no outcome.
return {refused, suspects_wait, next_due(), paused and 1 or 0, records_of(claimed, was_claimed, false)}
