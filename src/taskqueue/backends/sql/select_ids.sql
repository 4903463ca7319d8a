-- Which of these ids are in these states.
SELECT id FROM task
WHERE queue = :queue AND id IN (SELECT value FROM json_each(:ids)) AND state IN (SELECT value FROM json_each(:states))
