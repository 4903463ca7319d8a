-- End an owner's lease.
UPDATE owner SET retired = 1 WHERE queue = :queue AND id = :id
