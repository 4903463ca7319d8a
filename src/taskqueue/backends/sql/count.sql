-- How many tasks are in each state.
SELECT state, count(*) FROM task WHERE queue = :queue GROUP BY state
