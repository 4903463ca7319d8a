-- Start over with tasks that are dead or scheduled; what is wiped cannot run.
UPDATE task
SET state = 'ready',
    due = :now,
    attempts = 0,
    deaths = 0,
    suspect = 0,
    first_claimed_at = NULL,
    finished_at = NULL
WHERE queue = :queue AND id IN (SELECT value FROM json_each(:ids))
    AND state IN ('dead', 'scheduled') AND secrets IS NOT NULL
