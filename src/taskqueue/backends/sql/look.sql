-- Whether there is anything to exchange, without changing anything. The indexes are named, since by its own choice
-- SQLite would search all that is ready for a suspect.
SELECT
    paused,
    EXISTS (SELECT 1 FROM task INDEXED BY task_ready WHERE queue = :queue AND state = 'ready' AND suspect = 0),
    EXISTS (SELECT 1 FROM task INDEXED BY task_suspect WHERE queue = :queue AND state = 'ready' AND suspect = 1),
    (SELECT min(due) FROM task WHERE queue = :queue AND state = 'scheduled')
FROM queue WHERE number = :queue
