-- Ids in one state, those after :after, oldest first.
SELECT id FROM task WHERE queue = :queue AND state = :state AND id > :after ORDER BY id LIMIT :most
