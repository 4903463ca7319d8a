-- The version of the schema, the number of a queue, that of the server's release, and which of its processes answers.
SELECT
    (SELECT value FROM taskqueue_meta WHERE key = 'schema_version'),
    (SELECT number FROM taskqueue_queue WHERE prefix = :prefix AND name = :name),
    CAST(current_setting('server_version_num') AS integer),
    pg_backend_pid()
