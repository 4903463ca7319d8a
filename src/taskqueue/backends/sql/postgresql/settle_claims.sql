-- Take in what became of claims, and make ready what is due. Nothing changes for a task that was claimed again since,
-- or runs no more. What is to wait for no time is ready at once. Returns the claims that are settled. Tasks are locked in
-- the order of their ids by being changed in it, since nobody but who runs them, or takes them back, changes them.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
), given AS MATERIALIZED (
    SELECT
        given.id COLLATE "C" AS id, given.claim_number, given.state, greatest(given.delay, 0) AS delay, given.attempts,
        decode(given.outcome, 'base64') AS outcome, given.wipe, given.started
    FROM json_to_recordset(CAST(:settlements AS json)) AS given (
        id text, claim_number bigint, state text, delay double precision, attempts integer, outcome text, wipe boolean,
        started boolean
    )
    ORDER BY given.id COLLATE "C"
), due AS MATERIALIZED (
    SELECT task.id FROM taskqueue_task AS task
    WHERE task.queue = :queue AND task.state = 'scheduled' AND task.due <= (SELECT now FROM clock)
    ORDER BY task.due LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
), promoted AS (
    UPDATE taskqueue_task AS task
    SET state = 'ready'
    WHERE (task.queue = :queue) IS TRUE AND task.id = ANY (array(SELECT due.id FROM due))
        AND (task.state = 'scheduled') IS TRUE
)
UPDATE taskqueue_task AS task
SET state = CASE WHEN given.state = 'scheduled' AND given.delay = 0 THEN 'ready' ELSE given.state END,
    due = CASE WHEN given.state = 'scheduled' THEN clock.now + given.delay ELSE task.due END,
    attempts = task.attempts + given.attempts,
    suspect = task.suspect AND NOT given.started,
    first_claimed_at = CASE
        WHEN NOT given.started AND task.first_claimed_at = task.claimed_at THEN NULL ELSE task.first_claimed_at
    END,
    finished_at = CASE WHEN given.state IN ('done', 'dead') THEN clock.now END,
    outcome = coalesce(given.outcome, task.outcome),
    secrets = CASE WHEN given.wipe THEN NULL ELSE task.secrets END,
    owner = '',
    consumer = ''
FROM clock, given
WHERE (task.queue = :queue) IS TRUE AND task.id = ANY (array[given.id])
    AND (task.state = 'running') IS TRUE AND task.claim_number = given.claim_number
RETURNING task.id, task.claim_number
