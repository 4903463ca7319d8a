#!lua flags=no-writes,allow-oom
-- Ids in these states, beyond one, of each state at most so many. What is staged or running stands by owner: there all
-- ids are told, and whoever asks chooses among them.
-- keys: meta staged held scheduled ready running done dead
-- arguments: at most so many, an id or '', 1 for the newest first, states
local limit, after, newest_first = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1'
local beyond = after ~= '' and '(' .. after
local ids = {}
for index = 4, #ARGV do
  local state, members = ARGV[index], nil
  if state == 'staged' or state == 'running' then
    members = redis.call('ZRANGE', KEY[state], 0, -1)
  elseif newest_first then
    members = redis.call('ZREVRANGEBYLEX', KEY[state], beyond or '+', '-', 'LIMIT', 0, limit)
  else
    members = redis.call('ZRANGEBYLEX', KEY[state], beyond or '-', '+', 'LIMIT', 0, limit)
  end
  for _, member in ipairs(members) do
    if state == 'staged' then
      member = string.match(member, '^%Z*%z(.*)')
    elseif state == 'running' then
      member = string.match(member, '^%Z*%z%Z*%z(.*)')
    end
    ids[#ids + 1] = member
  end
end
return ids
