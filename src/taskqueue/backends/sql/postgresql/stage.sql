-- Put new records aside, all or none. Known ids, and those that are gone, stay as they are. Returns those that are new.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
)
INSERT INTO taskqueue_task (queue, id, state, priority, due, owner, staged_at, envelope, body, secrets)
SELECT
    :queue, given.id, 'staged', given.priority, given.due, :owner, clock.now, :envelope,
    decode(given.body, 'base64'), decode(given.secrets, 'base64')
FROM clock, json_to_recordset(CAST(:records AS json)) AS given (
    id text, priority bigint, due double precision, body text, secrets text
)
ORDER BY given.id COLLATE "C"
ON CONFLICT (queue, id) DO NOTHING
RETURNING id
