-- Forget owners of which nothing is left.
DELETE FROM owner WHERE queue = :queue AND id IN (SELECT value FROM json_each(:ids))
