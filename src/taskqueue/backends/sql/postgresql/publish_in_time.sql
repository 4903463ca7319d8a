-- Make runnable what is staged or held, unless one is unknown, or the newest was staged more than :max_age seconds ago.
-- Returns whether that was in time. The clock is read when all rows are locked.
WITH locked AS MATERIALIZED (
    SELECT id, state, staged_at FROM taskqueue_task
    WHERE (queue = :queue) IS TRUE AND id = ANY (CAST(:ids AS text[]))
    ORDER BY id FOR NO KEY UPDATE
), judged AS MATERIALIZED (
    SELECT
        found.now,
        found.number = cardinality(CAST(:ids AS text[]))
            AND coalesce(found.newest >= found.now - CAST(:max_age AS double precision), TRUE) AS is_in_time
    FROM (
        SELECT
            count(*) AS number,
            max(staged_at) FILTER (WHERE (state IN ('staged', 'held')) IS TRUE) AS newest,
            CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
        FROM locked
    ) AS found
), published AS (
    UPDATE taskqueue_task AS task
    SET state = CASE WHEN task.due > judged.now THEN 'scheduled' ELSE 'ready' END,
        published_at = judged.now,
        owner = '',
        envelope = ''
    FROM judged
    WHERE judged.is_in_time AND (task.queue = :queue) IS TRUE
        AND task.id = ANY (array(SELECT locked.id FROM locked)) AND (task.state IN ('staged', 'held')) IS TRUE
)
SELECT is_in_time FROM judged
