-- Take tasks back from owners that have not beaten since they were looked at. What somebody
-- else changes at the same time is left for the next time. Returns the ids that were taken.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
), owners AS MATERIALIZED (
    SELECT given.id COLLATE "C" AS id
    FROM json_to_recordset(CAST(:owners AS json)) AS given (id text, beats bigint)
    LEFT JOIN taskqueue_owner AS owner ON owner.queue = :queue AND owner.id = given.id COLLATE "C"
    WHERE owner.beats IS NOT DISTINCT FROM given.beats
), given AS MATERIALIZED (
    SELECT
        given.id COLLATE "C" AS id, given.owner COLLATE "C" AS owner, given.claim_number, given.state, given.deaths,
        decode(given.outcome, 'base64') AS outcome
    FROM json_to_recordset(CAST(:tasks AS json)) AS given (
        id text, owner text, claim_number bigint, state text, deaths integer, outcome text
    )
    WHERE given.owner COLLATE "C" IN (SELECT id FROM owners)
), locked AS MATERIALIZED (
    SELECT id FROM taskqueue_task
    WHERE queue = :queue AND id = ANY (array(SELECT id FROM given)) AND (state IN ('staged', 'running')) IS TRUE
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE taskqueue_task AS task
SET state = given.state,
    deaths = CASE WHEN task.state = 'running' THEN given.deaths ELSE task.deaths END,
    suspect = task.state = 'running',
    outcome = coalesce(given.outcome, task.outcome),
    finished_at = CASE WHEN given.state = 'dead' THEN clock.now END,
    owner = CASE WHEN task.state = 'running' THEN '' ELSE task.owner END,
    consumer = ''
FROM clock, given, locked
WHERE task.queue = :queue AND task.id = given.id AND locked.id = given.id AND task.owner = given.owner
    AND task.claim_number = given.claim_number
    AND (task.state = CASE WHEN given.state = 'held' THEN 'staged' ELSE 'running' END) IS TRUE
RETURNING task.id
