-- Wait for no lock, and work at no statement, longer than the caller waits; until the end of the transaction.
SELECT set_config('lock_timeout', :lock_patience, true), set_config('statement_timeout', :patience, true)
