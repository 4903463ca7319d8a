#!lua flags=allow-oom
-- Let all of the queue go, as if it had never been.
-- keys: meta progress body secrets outcome envelope staged held held_by scheduled due ready line suspects since running done done_at dead dead_at exposed gone owners
redis.call('DEL', unpack(KEYS))
return 1
