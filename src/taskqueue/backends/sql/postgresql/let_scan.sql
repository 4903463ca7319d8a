-- Let the statements that follow in this transaction read whole tables, which is the fastest way to count.
SELECT set_config('enable_seqscan', 'on', true)
