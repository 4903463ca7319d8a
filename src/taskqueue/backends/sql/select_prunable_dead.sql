-- Dead tasks that are too old, oldest first.
SELECT id FROM task INDEXED BY task_finished
WHERE queue = :queue AND state = 'dead' AND finished_at <= :before
ORDER BY finished_at, id LIMIT :most
