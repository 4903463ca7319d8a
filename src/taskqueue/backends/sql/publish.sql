-- Make one record runnable. What is not stored is stored; what is neither staged nor held, or gone, stays as it is.
INSERT INTO task (queue, id, state, priority, due, published_at, body, secrets)
SELECT :queue, :id, iif(:due > :now, 'scheduled', 'ready'), :priority, :due, :now, :body, :secrets
WHERE NOT EXISTS (SELECT 1 FROM gone WHERE queue = :queue AND id = :id AND gone_at > :remembered_since)
ON CONFLICT (queue, id) DO UPDATE
SET state = iif(task.due > :now, 'scheduled', 'ready'), published_at = :now, owner = '', envelope = x''
WHERE task.state IN ('staged', 'held')
