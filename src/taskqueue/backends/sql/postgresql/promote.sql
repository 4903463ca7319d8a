-- Make ready what is due, so many at a time.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
), due AS MATERIALIZED (
    SELECT task.id FROM taskqueue_task AS task
    WHERE task.queue = :queue AND task.state = 'scheduled' AND task.due <= (SELECT now FROM clock)
    ORDER BY task.due LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE taskqueue_task AS task
SET state = 'ready'
WHERE (task.queue = :queue) IS TRUE AND task.id = ANY (array(SELECT due.id FROM due))
    AND (task.state = 'scheduled') IS TRUE
RETURNING task.id
