-- Ids in one state, those before :after, newest first.
SELECT id FROM task WHERE queue = :queue AND state = :state AND (:after = '' OR id < :after) ORDER BY id DESC LIMIT :most
