#!lua flags=allow-oom
-- Pause or resume the queue.
-- keys: meta
-- arguments: 1 to pause it, 0 to resume it
put('HSET', KEY.meta, 'paused', ARGV[1])
flush()
if ARGV[1] == '0' then
  hint()
end
return 1
