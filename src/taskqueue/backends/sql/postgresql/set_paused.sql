-- Pause or resume the queue.
UPDATE taskqueue_queue SET paused = :paused
WHERE number = :queue
