-- Give back claimed tasks that were not started.
UPDATE task
SET state = 'ready',
    first_claimed_at = iif(first_claimed_at = claimed_at, NULL, first_claimed_at),
    owner = '',
    consumer = ''
WHERE queue = :queue AND id IN (SELECT value FROM json_each(:ids)) AND state = 'running'
