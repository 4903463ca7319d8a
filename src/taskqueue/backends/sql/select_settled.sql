-- Which of these claims run still: their ids, and their rows. All in one answer, since each row of an answer is a turn
-- that the threads of this process may take from us.
SELECT json_group_object(task.id, task.rowid)
FROM json_each(:claims) AS claim CROSS JOIN task
WHERE task.queue = :queue AND task.id = claim.key AND task.state = 'running' AND task.claim_number = claim.value
