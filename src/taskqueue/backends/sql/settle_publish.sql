-- Make runnable what was in doubt.
UPDATE task
SET state = iif(due > :now, 'scheduled', 'ready'), published_at = :now, owner = '', envelope = x''
WHERE queue = :queue AND id IN (SELECT value FROM json_each(:ids)) AND state IN ('staged', 'held')
