#!lua flags=allow-oom
-- Take or renew an owner's lease. Its row changes with every beat, even when the clock stands still.
-- keys: meta owners
-- arguments: owner, lease, what people want to know of it
local row = redis.call('HGET', KEY.owners, ARGV[1])
local number = row and cmsgpack.unpack(row)[1] or 0
put('HSET', KEY.owners, ARGV[1], cmsgpack.pack({number + 1, NOW, tonumber(ARGV[2]), 0, ARGV[3]}))
flush()
return 1
