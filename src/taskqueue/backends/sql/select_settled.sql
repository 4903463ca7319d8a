-- Which of these claims run still: their ids.
SELECT task.id
FROM json_each(:claims) AS claim CROSS JOIN task
WHERE task.queue = :queue AND task.id = claim.key AND task.state = 'running' AND task.claim_number = claim.value
