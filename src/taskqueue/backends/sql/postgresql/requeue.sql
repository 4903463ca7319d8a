-- Start over with tasks that are dead or scheduled; what is wiped cannot run. Returns the ids.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
), locked AS MATERIALIZED (
    SELECT id FROM taskqueue_task
    WHERE queue = :queue AND id = ANY (CAST(:ids AS text[])) AND (state IN ('dead', 'scheduled')) IS TRUE
        AND secrets IS NOT NULL
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE taskqueue_task AS task
SET state = 'ready',
    due = clock.now,
    attempts = 0,
    deaths = 0,
    suspect = false,
    first_claimed_at = NULL,
    finished_at = NULL
FROM clock, locked
WHERE task.queue = :queue AND task.id = locked.id AND (task.state IN ('dead', 'scheduled')) IS TRUE
    AND task.secrets IS NOT NULL
RETURNING task.id
