-- Have it that a task was never staged, in the transaction that has staged it: nobody else has seen it.
DELETE FROM taskqueue_task WHERE queue = :queue AND id = :id
