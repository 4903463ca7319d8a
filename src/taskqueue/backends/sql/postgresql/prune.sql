-- Let finished tasks go that were kept long enough, wipe the secrets of the dead, forget ids and owners of long ago. Of
-- each sort a bounded number; what somebody else changes at the same time is left for the next time. Returns how many
-- done, dead and wiped.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
), old_done AS MATERIALIZED (
    (
        SELECT id FROM taskqueue_task
        WHERE queue = :queue AND state = 'done' AND finished_at <= (SELECT now FROM clock) - :keep_done
        ORDER BY finished_at, id LIMIT :most
    ) UNION (
        SELECT id FROM taskqueue_task
        WHERE queue = :queue AND state = 'done'
        ORDER BY finished_at, id
        LIMIT greatest(0, least(:most, (
            SELECT count(*) FROM taskqueue_task WHERE queue = :queue AND state = 'done'
        ) - :keep_done_count))
    )
), old_dead AS MATERIALIZED (
    SELECT id FROM taskqueue_task
    WHERE queue = :queue AND state = 'dead' AND finished_at <= (SELECT now FROM clock) - :keep_dead
    ORDER BY finished_at, id LIMIT :most
), finished AS MATERIALIZED (
    SELECT id, state FROM taskqueue_task
    WHERE queue = :queue AND (state IN ('done', 'dead')) IS TRUE
        AND id = ANY (array(SELECT id FROM old_done UNION ALL SELECT id FROM old_dead))
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), gone AS (
    UPDATE taskqueue_task AS task
    SET state = 'gone',
        finished_at = clock.now,
        envelope = '',
        outcome = '',
        body = '',
        secrets = NULL
    FROM clock, finished
    WHERE task.queue = :queue AND task.id = finished.id AND (task.state IN ('done', 'dead')) IS TRUE
    RETURNING finished.state
), exposed AS MATERIALIZED (
    SELECT id FROM taskqueue_task
    WHERE queue = :queue AND state = 'dead' AND secrets IS NOT NULL
        AND finished_at <= (SELECT now FROM clock) - :keep_secrets
        AND id <> ALL (array(SELECT id FROM old_dead))
    ORDER BY finished_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
), wiped AS (
    UPDATE taskqueue_task AS task
    SET secrets = NULL
    FROM exposed
    WHERE task.queue = :queue AND task.id = exposed.id AND (task.state = 'dead') IS TRUE
    RETURNING 1
), old_gone AS MATERIALIZED (
    SELECT id FROM taskqueue_task
    WHERE queue = :queue AND state = 'gone' AND finished_at <= (SELECT now FROM clock) - :gone_seconds
    ORDER BY finished_at LIMIT :most_gone FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM taskqueue_task AS task USING old_gone
    WHERE task.queue = :queue AND task.id = old_gone.id AND (task.state = 'gone') IS TRUE
), old_owners AS (
    DELETE FROM taskqueue_owner AS owner USING clock
    WHERE owner.queue = :queue AND owner.retired > 0 AND owner.seen_at <= clock.now - :gone_seconds
        AND NOT EXISTS (
            SELECT 1 FROM taskqueue_task AS task
            WHERE task.queue = :queue AND task.state IN ('staged', 'held', 'running') AND task.owner = owner.id
        )
)
SELECT
    (SELECT count(*) FROM gone WHERE state = 'done'),
    (SELECT count(*) FROM gone WHERE state = 'dead'),
    (SELECT count(*) FROM wiped)
