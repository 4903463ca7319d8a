-- Everybody who holds or held a lease, oldest first. What somebody else wrote in place of consumers is none.
SELECT
    id, host, pid, started_at,
    CASE WHEN json_valid(consumers) THEN iif(json_type(consumers) = 'array', consumers, '[]') ELSE '[]' END,
    seen_at, retired
FROM owner
WHERE queue = :queue ORDER BY started_at, id
