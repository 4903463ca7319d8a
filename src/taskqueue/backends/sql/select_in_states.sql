-- Some ids in one of these states.
SELECT id FROM task WHERE queue = :queue AND state IN (SELECT value FROM json_each(:states)) LIMIT :most
