-- Take in what became of one claim. Nothing changes when the task was claimed again since, or runs no more.
UPDATE task
SET state = :state,
    due = iif(:state = 'scheduled', :due, due),
    attempts = attempts + :attempts,
    suspect = iif(:started, 0, suspect),
    first_claimed_at = iif(NOT :started AND first_claimed_at = claimed_at, NULL, first_claimed_at),
    finished_at = iif(:state IN ('done', 'dead'), :now, NULL),
    outcome = coalesce(:outcome, outcome),
    secrets = iif(:wipe, NULL, secrets),
    owner = '',
    consumer = ''
WHERE queue = :queue AND id = :id AND state = 'running' AND claim_number = :claim_number
