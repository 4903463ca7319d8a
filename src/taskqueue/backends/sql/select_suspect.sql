-- The suspect that is claimed next.
SELECT rowid FROM task
WHERE queue = :queue AND state = 'ready' AND suspect = 1
ORDER BY priority DESC, id LIMIT 1
