-- Everybody who holds or held a lease, oldest first.
SELECT id, host, pid, started_at, consumers, seen_at, retired FROM owner
WHERE queue = :queue ORDER BY started_at, id
