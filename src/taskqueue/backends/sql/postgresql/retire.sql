-- End an owner's lease. One in whose name nothing is left is told of no more; that it has retired is still known, since
-- what is staged in its name from now on belongs to nobody.
UPDATE taskqueue_owner AS owner
SET retired = CASE
    WHEN EXISTS (
        SELECT 1 FROM taskqueue_task AS task
        WHERE task.queue = :queue AND task.state IN ('staged', 'held', 'running') AND task.owner = :id
    ) THEN 1 ELSE 2
END
WHERE owner.queue = :queue AND owner.id = :id
