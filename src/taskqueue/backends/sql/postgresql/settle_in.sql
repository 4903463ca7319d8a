-- What holds for every transaction of a session that is ours alone. A plan that was made when the tables were small must
-- serve when they have grown. Statements that are run often are written such that without these sorts of scans only one
-- plan is left for them: tasks of known ids are looked for by id alone, others in the index of their sort and order. JIT
-- compilation would take longer than any statement.
SELECT
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('default_transaction_read_only', 'off', false),
    set_config('lock_timeout', :lock_patience, false),
    set_config('statement_timeout', :patience, false),
    set_config('plan_cache_mode', 'force_generic_plan', false),
    set_config('enable_seqscan', 'off', false),
    set_config('enable_bitmapscan', 'off', false),
    set_config('jit', 'off', false)
