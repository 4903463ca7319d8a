-- What is claimed next, of those that are not suspect: rows and sizes. What has no text for an id, nobody could settle.
SELECT json_group_array(json_array(number, size)) FROM (
    SELECT rowid AS number, length(body) + coalesce(length(secrets), 0) AS size FROM task
    WHERE queue = :queue AND state = 'ready' AND suspect = 0 AND typeof(id) = 'text'
    ORDER BY priority DESC, id LIMIT :most
)
