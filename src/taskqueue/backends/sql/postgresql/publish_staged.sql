-- Make runnable what is staged or held. Returns the ids that were.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
), locked AS MATERIALIZED (
    SELECT id FROM taskqueue_task
    WHERE (queue = :queue) IS TRUE AND id = ANY (CAST(:ids AS text[])) AND (state IN ('staged', 'held')) IS TRUE
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE taskqueue_task AS task
SET state = CASE WHEN task.due > clock.now THEN 'scheduled' ELSE 'ready' END,
    published_at = clock.now,
    owner = '',
    envelope = ''
FROM clock
WHERE (task.queue = :queue) IS TRUE AND task.id = ANY (array(SELECT locked.id FROM locked))
    AND (task.state IN ('staged', 'held')) IS TRUE
RETURNING task.id
