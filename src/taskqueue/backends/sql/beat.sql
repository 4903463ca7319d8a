-- Write down an owner, alive from now on.
INSERT OR REPLACE INTO owner (queue, id, host, pid, started_at, consumers, seen_at, retired)
VALUES (:queue, :id, :host, :pid, :started_at, :consumers, :now, 0)
