-- Let no other process that goes by a length limit stage at the same time, until the end of the transaction.
SELECT number FROM taskqueue_queue WHERE number = :queue FOR NO KEY UPDATE
