-- Dead tasks whose secrets were kept long enough.
SELECT id FROM task
WHERE queue = :queue AND state = 'dead' AND secrets IS NOT NULL AND finished_at <= :before
ORDER BY finished_at LIMIT :most
