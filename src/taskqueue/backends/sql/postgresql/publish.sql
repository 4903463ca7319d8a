-- Make records runnable. What is not stored is stored; what is neither staged nor held, or gone, stays as it is.
-- Returns the ids that became so.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
)
INSERT INTO taskqueue_task AS task (queue, id, state, priority, due, published_at, body, secrets)
SELECT
    :queue, given.id, CASE WHEN given.due > clock.now THEN 'scheduled' ELSE 'ready' END, given.priority, given.due,
    clock.now, decode(given.body, 'base64'), decode(given.secrets, 'base64')
FROM clock, json_to_recordset(CAST(:records AS json)) AS given (
    id text, priority bigint, due double precision, body text, secrets text
)
ORDER BY given.id COLLATE "C"
ON CONFLICT (queue, id) DO UPDATE
SET state = CASE WHEN task.due > EXCLUDED.published_at THEN 'scheduled' ELSE 'ready' END,
    published_at = EXCLUDED.published_at,
    owner = '',
    envelope = ''
WHERE task.state IN ('staged', 'held')
RETURNING id
