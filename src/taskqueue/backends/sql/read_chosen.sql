-- What was claimed by the last change, row by row, but for what has been taken back since.
SELECT {columns} FROM chosen CROSS JOIN task ON task.rowid = chosen.number
WHERE task.state = 'running' AND task.owner = :owner AND task.consumer = :consumer AND task.claimed_at = :now
ORDER BY chosen.place
