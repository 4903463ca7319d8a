-- Some of what these owners staged or run.
SELECT id, state, owner, claim_number, suspect, deaths FROM taskqueue_task
WHERE queue = :queue AND state IN ('staged', 'running') AND owner = ANY (CAST(:owners AS text[]))
ORDER BY id LIMIT :most
