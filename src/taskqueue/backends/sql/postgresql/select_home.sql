-- Where the tables of this connection are: server, database and schema, which no other three have.
SELECT concat_ws(
    '/',
    (SELECT system_identifier FROM pg_control_system()),
    (SELECT CAST(oid AS text) FROM pg_database WHERE datname = current_database()),
    (SELECT CAST(CAST(to_regclass('taskqueue_queue') AS oid) AS text))
)
