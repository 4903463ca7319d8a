-- What is running in one consumer's name.
SELECT id FROM task WHERE queue = :queue AND state = 'running' AND owner = :owner AND consumer = :consumer
