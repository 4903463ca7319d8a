-- The time by which tasks are due.
SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)
