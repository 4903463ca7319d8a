-- Be the only one who changes the schema, until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('taskqueue schema'))
