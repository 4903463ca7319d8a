-- What was claimed by the last change, row by row.
SELECT {columns} FROM chosen CROSS JOIN task ON task.rowid = chosen.number ORDER BY chosen.place
