-- What would be claimed first: whole records, at most one that is no suspect, and one that is.
SELECT {columns}, rowid FROM task WHERE rowid = (
    SELECT rowid FROM task WHERE queue = :queue AND state = 'ready' AND suspect = 0 AND typeof(id) = 'text'
    ORDER BY priority DESC, id LIMIT 1
)
UNION ALL
SELECT {columns}, rowid FROM task WHERE rowid = (
    SELECT rowid FROM task WHERE queue = :queue AND state = 'ready' AND suspect = 1
    ORDER BY priority DESC, id LIMIT 1
)
