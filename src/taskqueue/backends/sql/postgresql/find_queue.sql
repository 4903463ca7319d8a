-- The version of the schema, the number of a queue, and that of the server's release.
SELECT
    (SELECT value FROM taskqueue_meta WHERE key = 'schema_version'),
    (SELECT number FROM taskqueue_queue WHERE prefix = :prefix AND name = :name),
    CAST(current_setting('server_version_num') AS integer)
