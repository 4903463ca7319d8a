#!lua flags=no-writes,allow-oom
-- Returns the time by which tasks are due.
-- keys: meta
return NOW_TEXT
