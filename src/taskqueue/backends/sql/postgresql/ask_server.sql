-- What a server says of itself: when it was started, its settings, and what keeps it from cleaning up behind itself: the
-- seconds for which the oldest transaction and the oldest prepared one are open, and the oldest snapshot that is held.
-- Of other users' sessions an ordinary user sees the snapshot only, not since when.
SELECT
    CAST(extract(epoch FROM pg_postmaster_start_time()) AS double precision),
    current_setting('fsync'),
    current_setting('synchronous_commit'),
    current_setting('full_page_writes'),
    pg_is_in_recovery(),
    (
        SELECT max(CAST(extract(epoch FROM clock_timestamp() - xact_start) AS double precision))
        FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
    ),
    (
        SELECT max(CAST(extract(epoch FROM clock_timestamp() - prepared) AS double precision))
        FROM pg_prepared_xacts WHERE database = current_database()
    ),
    (
        SELECT CAST(backend_xmin AS text) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL
        ORDER BY age(backend_xmin) DESC LIMIT 1
    )
