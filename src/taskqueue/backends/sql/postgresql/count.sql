-- How many tasks are in each state, but for those that are gone.
SELECT state, count(*) FROM taskqueue_task WHERE queue = :queue AND state <> 'gone' GROUP BY state
