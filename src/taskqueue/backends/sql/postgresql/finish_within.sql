-- Take in what became of one claim, in the transaction of the application. Nothing is returned when the task was claimed
-- again since, or runs no more.
UPDATE taskqueue_task AS task
SET state = 'done',
    attempts = task.attempts + CAST(:attempts AS integer),
    suspect = task.suspect AND NOT CAST(:started AS boolean),
    finished_at = CAST(extract(epoch FROM clock_timestamp()) AS double precision),
    outcome = coalesce(decode(CAST(:outcome AS text), 'base64'), task.outcome),
    secrets = CASE WHEN CAST(:wipe AS boolean) THEN NULL ELSE task.secrets END,
    owner = '',
    consumer = ''
FROM taskqueue_queue AS queue
WHERE queue.prefix = CAST(:prefix AS text) AND queue.name = CAST(:name AS text)
    AND task.queue = queue.number AND task.id = CAST(:id AS text)
    AND task.state = 'running' AND task.claim_number = CAST(:claim_number AS bigint)
RETURNING task.id
