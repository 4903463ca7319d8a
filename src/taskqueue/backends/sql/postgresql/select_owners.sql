-- The time, and everybody who holds or held a lease; the time alone when there is nobody.
SELECT
    clock.now, owner.id, owner.beats, owner.seen_at, owner.lease, owner.retired, owner.host, owner.pid,
    owner.started_at, owner.consumers
FROM (SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now) AS clock
LEFT JOIN taskqueue_owner AS owner ON owner.queue = :queue
