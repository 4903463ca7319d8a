-- Owners in whose name something is staged, held or running.
SELECT DISTINCT owner FROM task INDEXED BY task_state
WHERE queue = :queue AND state IN ('staged', 'held', 'running')
