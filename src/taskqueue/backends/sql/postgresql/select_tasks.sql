-- Whole records.
SELECT {columns} FROM taskqueue_task AS task
WHERE task.queue = :queue AND task.id = ANY (CAST(:ids AS text[])) AND (task.state <> 'gone') IS TRUE
