-- Since when the oldest ready task waits to run; and whether the queue is paused.
SELECT
    (SELECT min(max(published_at, due)) FROM task WHERE queue = :queue AND state = 'ready'),
    paused
FROM queue WHERE number = :queue
