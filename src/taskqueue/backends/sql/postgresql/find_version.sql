-- The version of the schema.
SELECT value FROM taskqueue_meta WHERE key = 'schema_version'
