-- Which of these ids can start over.
SELECT id FROM task
WHERE queue = :queue AND id IN (SELECT value FROM json_each(:ids))
    AND state IN ('dead', 'scheduled') AND secrets IS NOT NULL
