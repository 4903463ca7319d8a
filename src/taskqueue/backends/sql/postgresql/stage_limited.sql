-- The same as stage, unless more tasks would wait than may. Returns the ids that are new, and how many would wait.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
), given AS MATERIALIZED (
    SELECT given.id COLLATE "C" AS id, given.priority, given.due, given.body, given.secrets
    FROM json_to_recordset(CAST(:records AS json)) AS given (
        id text, priority bigint, due double precision, body text, secrets text
    )
    WHERE NOT EXISTS (
        SELECT 1 FROM taskqueue_task AS task WHERE task.queue = :queue AND task.id = given.id COLLATE "C"
    )
), waiting AS MATERIALIZED (
    SELECT (SELECT count(*) FROM given) + (
        SELECT count(*) FROM (
            SELECT 1 FROM taskqueue_task
            WHERE queue = :queue AND state IN ('staged', 'held', 'scheduled', 'ready')
            LIMIT CAST(:length_limit AS bigint) + 1
        ) AS counted
    ) AS number
), staged AS (
    INSERT INTO taskqueue_task (queue, id, state, priority, due, owner, staged_at, envelope, body, secrets)
    SELECT
        :queue, given.id, 'staged', given.priority, given.due, :owner, clock.now, :envelope,
        decode(given.body, 'base64'), decode(given.secrets, 'base64')
    FROM clock, given, waiting
    WHERE waiting.number <= :length_limit
    ORDER BY given.id
    ON CONFLICT (queue, id) DO NOTHING
    RETURNING id
)
SELECT array(SELECT id FROM staged), waiting.number, (SELECT count(*) FROM given) FROM waiting
