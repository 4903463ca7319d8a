#!lua flags=no-writes,allow-oom
-- How many tasks are in each state; then for how long the oldest ready one has waited or '', and whether it is paused.
-- keys: meta staged held scheduled ready running done dead since
-- arguments: states
local counts = {}
for index, state in ipairs(ARGV) do
  counts[index] = redis.call('ZCARD', KEY[state])
end
local oldest = redis.call('ZRANGE', KEY.since, 0, 0, 'WITHSCORES')[2]
counts[#counts + 1] = oldest and string.format('%.17g', math.max(0, NOW - tonumber(oldest))) or ''
counts[#counts + 1] = paused and 1 or 0
return counts
