-- Whole records in these states by id, those after one.
SELECT {columns}
FROM unnest(CAST(:states AS text[])) AS wanted (state) CROSS JOIN LATERAL (
    SELECT * FROM taskqueue_task
    WHERE queue = :queue AND state = wanted.state AND state <> 'gone' AND id > :after
    ORDER BY id LIMIT :most
) AS task
ORDER BY task.id LIMIT :most
