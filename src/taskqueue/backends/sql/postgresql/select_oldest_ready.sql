-- For how long the oldest ready task has waited to run, and whether the queue is paused.
SELECT
    (
        SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)
            - min(greatest(task.published_at, task.due))
        FROM taskqueue_task AS task WHERE task.queue = :queue AND task.state = 'ready'
    ),
    paused
FROM taskqueue_queue WHERE number = :queue
