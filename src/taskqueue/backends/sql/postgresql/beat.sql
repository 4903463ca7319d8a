-- Take or renew an owner's lease.
WITH clock AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
)
INSERT INTO taskqueue_owner AS owner (queue, id, host, pid, started_at, consumers, lease, seen_at)
SELECT
    :queue, :id, :host, :pid, CAST(:started_at AS double precision), :consumers, CAST(:lease AS double precision),
    clock.now
FROM clock
ON CONFLICT (queue, id) DO UPDATE
SET beats = owner.beats + 1,
    host = EXCLUDED.host,
    pid = EXCLUDED.pid,
    started_at = EXCLUDED.started_at,
    consumers = EXCLUDED.consumers,
    lease = EXCLUDED.lease,
    seen_at = EXCLUDED.seen_at,
    retired = 0
