-- Forget of these ids that they are gone, if they were so an hour ago.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
)
DELETE FROM taskqueue_task AS task USING clock
WHERE task.queue = :queue AND task.id = ANY (CAST(:ids AS text[])) AND (task.state = 'gone') IS TRUE
    AND task.finished_at <= clock.now - :gone_seconds
RETURNING task.id
