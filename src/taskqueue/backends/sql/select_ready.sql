-- What is claimed next, of those that are not suspect.
SELECT {columns}, rowid FROM task
WHERE queue = :queue AND state = 'ready' AND suspect = 0
ORDER BY priority DESC, id LIMIT :most
