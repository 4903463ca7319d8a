-- Let some of the tasks go that are in these states, and remember their ids. Returns them.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
), locked AS MATERIALIZED (
    SELECT id FROM taskqueue_task
    WHERE queue = :queue AND state = ANY (CAST(:states AS text[])) AND state <> 'gone'
    ORDER BY id LIMIT :most FOR NO KEY UPDATE
)
UPDATE taskqueue_task AS task
SET state = 'gone',
    finished_at = clock.now,
    owner = '',
    consumer = '',
    envelope = '',
    outcome = '',
    body = '',
    secrets = NULL
FROM clock, locked
WHERE task.queue = :queue AND task.id = locked.id AND (task.state = ANY (CAST(:states AS text[]))) IS TRUE
RETURNING task.id
