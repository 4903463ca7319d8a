-- Whole records, with their rows.
SELECT {columns}, rowid FROM task WHERE rowid IN (SELECT value FROM json_each(:rows))
