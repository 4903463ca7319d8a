-- Leave what is staged until somebody decides. Returns the ids that were.
WITH locked AS MATERIALIZED (
    SELECT id FROM taskqueue_task
    WHERE queue = :queue AND id = ANY (CAST(:ids AS text[])) AND (state = 'staged') IS TRUE
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE taskqueue_task AS task
SET state = 'held'
FROM locked
WHERE task.queue = :queue AND task.id = locked.id AND (task.state = 'staged') IS TRUE
RETURNING task.id
