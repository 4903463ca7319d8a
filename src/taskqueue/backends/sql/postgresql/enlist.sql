-- Store records as published, in the transaction of the application. Known ids stay as they are. Returns the number of
-- the queue, which is null when this database has none of that name or is another one than the queue's own, how many tasks
-- would wait if there is a limit, and how many were stored. A limit below 0 is none.
WITH queue AS MATERIALIZED (
    SELECT number FROM taskqueue_queue
    WHERE prefix = CAST(:prefix AS text) AND name = CAST(:name AS text) AND CAST(:home AS text) = concat_ws(
        '/',
        (SELECT system_identifier FROM pg_control_system()),
        (SELECT CAST(oid AS text) FROM pg_database WHERE datname = current_database()),
        (SELECT CAST(CAST(to_regclass('taskqueue_queue') AS oid) AS text))
    )
), clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
), given AS MATERIALIZED (
    SELECT given.id, given.priority, given.due, given.body, given.secrets
    FROM json_to_recordset(CAST(:records AS json)) AS given (
        id text, priority bigint, due double precision, body text, secrets text
    )
), waiting AS MATERIALIZED (
    SELECT (SELECT count(*) FROM given) + (
        SELECT count(*) FROM (
            SELECT 1 FROM taskqueue_task
            WHERE queue = (SELECT number FROM queue) AND state IN ('staged', 'held', 'scheduled', 'ready')
            LIMIT CAST(:length_limit AS bigint) + 1
        ) AS counted
    ) AS number
), stored AS (
    INSERT INTO taskqueue_task (queue, id, state, priority, due, published_at, body, secrets)
    SELECT
        queue.number, given.id, CASE WHEN given.due > clock.now THEN 'scheduled' ELSE 'ready' END, given.priority,
        given.due, clock.now, decode(given.body, 'base64'), decode(given.secrets, 'base64')
    FROM queue, clock, given, waiting
    WHERE CAST(:length_limit AS bigint) < 0 OR waiting.number <= CAST(:length_limit AS bigint)
    ORDER BY given.id COLLATE "C"
    ON CONFLICT (queue, id) DO NOTHING
    RETURNING 1
)
SELECT (SELECT number FROM queue), (SELECT number FROM waiting), (SELECT count(*) FROM stored)
