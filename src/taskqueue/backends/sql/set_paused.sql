-- Pause or resume the queue.
UPDATE queue SET paused = :paused WHERE number = :queue
