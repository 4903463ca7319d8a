-- Forget that tasks ever were.
DELETE FROM gone WHERE queue = :queue AND id IN (SELECT value FROM json_each(:ids))
