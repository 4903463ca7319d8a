-- Take back one running task from an owner that died.
UPDATE task
SET state = :state,
    deaths = :deaths,
    suspect = 1,
    outcome = coalesce(:outcome, outcome),
    finished_at = iif(:state = 'dead', :now, NULL),
    owner = '',
    consumer = ''
WHERE queue = :queue AND id = :id AND state = 'running'
