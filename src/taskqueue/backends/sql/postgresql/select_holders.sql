-- Owners in whose name something is staged or running.
SELECT DISTINCT owner FROM taskqueue_task WHERE queue = :queue AND state IN ('staged', 'running')
