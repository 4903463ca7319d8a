-- Claim ready tasks: each claim has a number that no other claim of the task ever has. What others are claiming at the
-- same time is passed over. A suspect is claimed by itself, when nothing else comes before it. What is due comes first:
-- while there is any, nothing is claimed but after a promotion, which may leave some. Returns one row for each
-- task, or one without a task; before the task it tells whether the queue is paused, whether a suspect still waits, and
-- when the next task is due.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
), open AS MATERIALIZED (
    SELECT NOT paused AND (:after_promotion OR NOT EXISTS (
        SELECT 1 FROM taskqueue_task AS task
        WHERE task.queue = :queue AND task.state = 'scheduled' AND task.due <= (SELECT now FROM clock)
    )) AS is_open
    FROM taskqueue_queue WHERE number = :queue
), suspects AS MATERIALIZED (
    SELECT task.id, task.priority FROM taskqueue_task AS task
    WHERE task.queue = :queue AND task.state = 'ready' AND task.suspect AND (SELECT is_open FROM open)
    ORDER BY task.priority DESC, task.id LIMIT :suspects FOR NO KEY UPDATE SKIP LOCKED
), candidates AS MATERIALIZED (
    SELECT task.id, task.priority, greatest(1, octet_length(task.body) + coalesce(octet_length(task.secrets), 0)) AS size
    FROM taskqueue_task AS task
    WHERE task.queue = :queue AND task.state = 'ready' AND NOT task.suspect AND (SELECT is_open FROM open)
    ORDER BY task.priority DESC, task.id LIMIT :wanted FOR NO KEY UPDATE SKIP LOCKED
), suspect AS MATERIALIZED (
    SELECT suspects.id FROM suspects
    WHERE NOT EXISTS (
        SELECT 1 FROM candidates AS other
        WHERE other.priority > suspects.priority OR (other.priority = suspects.priority AND other.id < suspects.id)
    )
), measured AS (
    SELECT
        candidates.id,
        sum(candidates.size) OVER so_far AS total,
        row_number() OVER so_far AS place
    FROM candidates
    WINDOW so_far AS (ORDER BY candidates.priority DESC, candidates.id)
), chosen AS MATERIALIZED (
    SELECT suspect.id FROM suspect
    UNION ALL
    SELECT measured.id FROM measured
    WHERE (measured.place = 1 OR measured.total <= :most_bytes) AND NOT EXISTS (SELECT 1 FROM suspect)
), claimed AS (
    UPDATE taskqueue_task AS task
    SET state = 'running',
        claim_number = task.claim_number + 1,
        owner = :owner,
        consumer = :consumer,
        claimed_at = clock.now,
        first_claimed_at = coalesce(task.first_claimed_at, clock.now)
    FROM clock
    WHERE (task.queue = :queue) IS TRUE AND task.id = ANY (array(SELECT chosen.id FROM chosen))
        AND (task.state = 'ready') IS TRUE
    RETURNING {columns}
)
SELECT
    queue.paused,
    EXISTS (
        SELECT 1 FROM taskqueue_task AS task
        WHERE task.queue = :queue AND task.state = 'ready' AND task.suspect
            AND task.id <> ALL (array(SELECT suspect.id FROM suspect))
    ),
    (
        SELECT min(task.due) - (SELECT now FROM clock)
        FROM taskqueue_task AS task WHERE task.queue = :queue AND task.state = 'scheduled'
    ),
    claimed.*
FROM taskqueue_queue AS queue LEFT JOIN claimed ON true
WHERE queue.number = :queue
