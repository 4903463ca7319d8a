-- Tell those who wait in other processes, if any process but this one has consumers.
SELECT pg_notify(:channel, '') WHERE EXISTS (
    SELECT 1 FROM taskqueue_owner
    WHERE queue = :queue AND retired = 0 AND consumers <> '[]' AND id <> ALL (CAST(:own AS text[]))
)
