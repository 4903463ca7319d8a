-- Done tasks that are too old, or surplus beyond the newest ones that are kept: both are the oldest so many.
SELECT id FROM (
    SELECT id FROM task INDEXED BY task_finished
    WHERE queue = :queue AND state = 'done' AND finished_at <= :before
    ORDER BY finished_at, id LIMIT :most
)
UNION
SELECT id FROM (
    SELECT id FROM task INDEXED BY task_finished
    WHERE queue = :queue AND state = 'done' AND finished_at IS NOT NULL
    ORDER BY finished_at, id
    LIMIT max(0, min(:most, (SELECT count(*) FROM task WHERE queue = :queue AND state = 'done') - :keep_count))
)
