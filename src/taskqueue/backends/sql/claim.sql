-- Claim ready tasks: each claim has a number that no other claim of the task ever has.
UPDATE task
SET state = 'running',
    claim_number = claim_number + 1,
    owner = :owner,
    consumer = :consumer,
    claimed_at = :now,
    first_claimed_at = coalesce(first_claimed_at, :now)
WHERE queue = :queue AND id IN (SELECT value FROM json_each(:ids)) AND state = 'ready'
