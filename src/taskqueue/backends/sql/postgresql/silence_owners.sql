-- Owners that have not beaten since they were looked at have retired from now on; the lock keeps them from beating
-- until what they held is taken.
WITH given AS MATERIALIZED (
    SELECT given.id COLLATE "C" AS id, given.beats
    FROM json_to_recordset(CAST(:owners AS json)) AS given (id text, beats bigint)
), locked AS MATERIALIZED (
    SELECT owner.id FROM taskqueue_owner AS owner
    WHERE owner.queue = :queue AND owner.id = ANY (array(SELECT id FROM given))
    ORDER BY owner.id FOR NO KEY UPDATE
)
UPDATE taskqueue_owner AS owner
SET retired = greatest(owner.retired, 1)
FROM given, locked
WHERE owner.queue = :queue AND owner.id = given.id AND locked.id = given.id AND owner.beats = given.beats
