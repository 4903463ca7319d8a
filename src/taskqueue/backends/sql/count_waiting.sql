-- How many tasks wait; more than :most need not be counted.
SELECT count(*) FROM (
    SELECT 1 FROM task WHERE queue = :queue AND state IN ('staged', 'held', 'scheduled', 'ready') LIMIT :most
)
