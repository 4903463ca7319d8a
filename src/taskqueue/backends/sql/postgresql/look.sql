-- Whether there is anything to exchange: whether the queue is paused, whether a suspect waits, when the next is due.
SELECT
    paused,
    EXISTS (SELECT 1 FROM taskqueue_task AS task WHERE task.queue = :queue AND task.state = 'ready' AND task.suspect),
    (
        SELECT min(task.due) - CAST(extract(epoch FROM clock_timestamp()) AS double precision)
        FROM taskqueue_task AS task WHERE task.queue = :queue AND task.state = 'scheduled'
    )
FROM taskqueue_queue WHERE number = :queue
