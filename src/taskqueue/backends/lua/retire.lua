#!lua flags=allow-oom
-- End an owner's lease. One in whose name nothing is left is told of no more; that it has retired is still known, since
-- what is staged in its name from now on belongs to nobody.
-- keys: meta owners staged held_by running
-- arguments: owner
local row = redis.call('HGET', KEY.owners, ARGV[1])
if row then
  local owner = cmsgpack.unpack(row)
  owner[4] = is_in_the_name_of(ARGV[1], KEY.staged, KEY.held_by, KEY.running) and 1 or 2
  put('HSET', KEY.owners, ARGV[1], cmsgpack.pack(owner))
  flush()
end
return 1
