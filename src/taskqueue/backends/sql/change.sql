-- What an exchange changes, made by the triggers of exchange.sql: a row of values for each change.
INSERT INTO change (
    kind, queue, now, given, tasks, state, attempts, wipe, started, outcomes, bytes, owner, consumer
) VALUES {rows}
