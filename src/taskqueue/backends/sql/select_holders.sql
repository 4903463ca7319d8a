-- Owners in whose name something is staged or running, and whether they have retired.
SELECT DISTINCT task.owner, coalesce(owner.retired, 0)
FROM task LEFT JOIN owner ON owner.queue = task.queue AND owner.id = task.owner
WHERE task.queue = :queue AND task.state IN ('staged', 'running')
