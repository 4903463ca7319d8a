-- Forget the secrets of dead tasks.
UPDATE task SET secrets = NULL
WHERE queue = :queue AND id IN (SELECT value FROM json_each(:ids)) AND state = 'dead'
