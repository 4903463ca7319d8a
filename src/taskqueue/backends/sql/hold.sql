-- Leave what is staged until somebody decides.
UPDATE task SET state = 'held'
WHERE queue = :queue AND id IN (SELECT value FROM json_each(:ids)) AND state = 'staged'
