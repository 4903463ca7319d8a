#!lua flags=no-writes,allow-oom
-- Whole records of those ids that are known.
-- keys: meta progress body secrets outcome envelope
-- arguments: ids
return records_of(known(ARGV), true, true)
