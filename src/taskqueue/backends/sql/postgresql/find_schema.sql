-- Whether this database has the tables of a queue. Asked of the catalogue itself: what a session believes to know of a
-- name, as to_regclass does, may be older than the lock under which this is asked.
SELECT EXISTS (
    SELECT 1 FROM pg_catalog.pg_tables
    WHERE tablename = 'taskqueue_meta' AND schemaname = ANY (current_schemas(false))
)
