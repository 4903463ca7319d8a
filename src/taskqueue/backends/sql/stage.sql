-- Put one new record aside. Known ids, and those gone within the hour, stay as they are.
INSERT INTO task (queue, id, state, priority, due, owner, staged_at, envelope, body, secrets)
SELECT :queue, :id, 'staged', :priority, :due, :owner, :now, :envelope, :body, :secrets
WHERE NOT EXISTS (SELECT 1 FROM gone WHERE queue = :queue AND id = :id AND gone_at > :remembered_since)
ON CONFLICT (queue, id) DO NOTHING
