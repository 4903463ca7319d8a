-- Give back what runs in one consumer's name, but for what it knows of. Returns the ids.
WITH locked AS MATERIALIZED (
    SELECT id FROM taskqueue_task
    WHERE queue = :queue AND state = 'running' AND owner = :owner AND consumer = :consumer
        AND id <> ALL (CAST(:holding AS text[]))
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE taskqueue_task AS task
SET state = 'ready',
    first_claimed_at = CASE WHEN task.first_claimed_at = task.claimed_at THEN NULL ELSE task.first_claimed_at END,
    owner = '',
    consumer = ''
FROM locked
WHERE task.queue = :queue AND task.id = locked.id AND (task.state = 'running') IS TRUE
    AND task.owner = :owner AND task.consumer = :consumer
RETURNING task.id
