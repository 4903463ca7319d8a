-- Make ready what is due, so many at a time: others wait for the lock meanwhile.
UPDATE task SET state = 'ready'
WHERE queue = :queue AND id IN (
    SELECT id FROM task WHERE queue = :queue AND state = 'scheduled' AND due <= :now ORDER BY due LIMIT :most
)
