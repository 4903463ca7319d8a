-- What these owners staged or run.
SELECT id, state, owner, suspect, CAST(deaths AS INTEGER) FROM task INDEXED BY task_state
WHERE queue = :queue AND state IN ('staged', 'running') AND owner IN (SELECT value FROM json_each(:owners))
ORDER BY id
