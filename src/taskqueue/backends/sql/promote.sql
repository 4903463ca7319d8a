-- Make ready what is due.
UPDATE task SET state = 'ready' WHERE queue = :queue AND state = 'scheduled' AND due <= :now
