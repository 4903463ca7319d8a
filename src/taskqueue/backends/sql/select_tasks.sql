-- Whole records.
SELECT {columns} FROM task WHERE queue = :queue AND id IN (SELECT value FROM json_each(:ids))
