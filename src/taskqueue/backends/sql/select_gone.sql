-- Ids that were remembered long enough.
SELECT id FROM gone WHERE queue = :queue AND gone_at <= :remembered_since ORDER BY gone_at LIMIT :most
