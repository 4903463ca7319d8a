-- Whole records in these states by id, newest first, those before one.
SELECT {columns}
FROM unnest(CAST(:states AS text[])) AS wanted (state) CROSS JOIN LATERAL (
    SELECT * FROM taskqueue_task
    WHERE queue = :queue AND state = wanted.state AND state <> 'gone' AND (:after = '' OR id < :after)
    ORDER BY id DESC LIMIT :most
) AS task
ORDER BY task.id DESC LIMIT :most
