-- Forget an owner in whose name nothing is left, once it has retired.
DELETE FROM owner
WHERE queue = :queue AND id = :id AND retired = 1 AND NOT EXISTS (
    SELECT 1 FROM task INDEXED BY task_state
    WHERE task.queue = :queue AND task.state IN ('staged', 'held', 'running') AND task.owner = :id
)
