-- Take in what became of claims that ended alike but for their outcomes: those are cut out of :outcomes, which has them
-- all. Each row comes with the place where its outcome begins, and its length in the lower 32 bits.
UPDATE task
SET state = :state,
    due = iif(:state = 'scheduled', :due, due),
    attempts = attempts + :attempts,
    suspect = iif(:started, 0, suspect),
    first_claimed_at = iif(NOT :started AND first_claimed_at = claimed_at, NULL, first_claimed_at),
    finished_at = iif(:state IN ('done', 'dead'), :now, NULL),
    outcome = iif(:outcomes IS NULL, outcome, substr(:outcomes, given.value >> 32, given.value & 4294967295)),
    secrets = iif(:wipe, NULL, secrets),
    owner = '',
    consumer = ''
FROM json_each(:settled) AS given
WHERE task.rowid = CAST(given.key AS INTEGER) AND +task.state = 'running'
