-- What is read of records that are claimed, in one answer: their small columns as JSON, their large ones one after the
-- other. Times come as text, with all their digits. Rows that are not as we write them are left out.
SELECT
    json_group_array(json_array(
        rowid, id, priority, claim_number, attempts, deaths, suspect,
        printf('%!.17g', due),
        iif(staged_at IS NULL, NULL, printf('%!.17g', staged_at)),
        iif(published_at IS NULL, NULL, printf('%!.17g', published_at)),
        iif(first_claimed_at IS NULL, NULL, printf('%!.17g', first_claimed_at)),
        iif(finished_at IS NULL, NULL, printf('%!.17g', finished_at)),
        length(body), length(secrets), length(envelope), length(outcome)
    )),
    CAST(group_concat(
        CAST(body AS TEXT) || CAST(coalesce(secrets, x'') AS TEXT) || CAST(envelope AS TEXT) || CAST(outcome AS TEXT), ''
    ) AS BLOB)
FROM task
WHERE rowid IN (SELECT value FROM json_each(:rows))
    AND typeof(id) = 'text' AND typeof(priority) = 'integer' AND typeof(claim_number) = 'integer'
    AND typeof(attempts) = 'integer' AND typeof(deaths) = 'integer' AND typeof(suspect) = 'integer'
    AND typeof(due) = 'real' AND typeof(staged_at) IN ('real', 'null') AND typeof(published_at) IN ('real', 'null')
    AND typeof(first_claimed_at) IN ('real', 'null') AND typeof(finished_at) IN ('real', 'null')
    AND typeof(body) = 'blob' AND typeof(secrets) IN ('blob', 'null')
    AND typeof(envelope) = 'blob' AND typeof(outcome) = 'blob'
