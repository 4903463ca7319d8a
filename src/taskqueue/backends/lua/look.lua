#!lua flags=no-writes,allow-oom
-- Returns the time, all owners with their rows, and those in whose name something is staged or running.
-- keys: meta owners staged running
local holders, found = {}, {}
for _, key in ipairs({KEY.staged, KEY.running}) do
  local from = '-'
  repeat
    local member = redis.call('ZRANGEBYLEX', key, from, '+', 'LIMIT', 0, 1)[1]
    local owner = member and string.match(member, '^%Z*')
    if owner and not found[owner] then
      found[owner] = true
      holders[#holders + 1] = owner
    end
    from = owner and '(' .. owner .. '\1'
  until not member
end
return {NOW_TEXT, redis.call('HGETALL', KEY.owners), holders}
