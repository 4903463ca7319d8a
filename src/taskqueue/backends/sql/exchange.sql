-- What one connection has for its exchanges, and nobody else sees. Rows that are inserted into the view are changes to
-- make, one after the other. So all that an exchange changes is one statement, within which no thread of its process can
-- keep it waiting, and a transaction by itself.

CREATE TEMP TABLE chosen (place INTEGER PRIMARY KEY, number INTEGER, size INTEGER);

CREATE TEMP TABLE answer (count INTEGER, told TEXT, content BLOB);

CREATE TEMP VIEW change AS SELECT
    NULL AS kind, NULL AS queue, NULL AS now, NULL AS given, NULL AS tasks,
    NULL AS state, NULL AS attempts, NULL AS wipe, NULL AS started, NULL AS outcomes,
    NULL AS bytes, NULL AS owner, NULL AS consumer;

-- Take in what became of claims that ended alike but for their outcomes, and the seconds until they are due. Outcomes are
-- cut out of "outcomes", which has them all. "given" tells of each id the number of the claim, where its outcome begins,
-- the length of that, and the seconds. All or none: when one came too late, the statement fails.
CREATE TEMP TRIGGER change_settle INSTEAD OF INSERT ON change WHEN NEW.kind = 'settle' BEGIN
    UPDATE task
    SET state = NEW.state,
        due = iif(NEW.state = 'scheduled', NEW.now + json_extract(settled.claim, '$[3]'), due),
        attempts = attempts + NEW.attempts,
        suspect = iif(NEW.started, 0, suspect),
        first_claimed_at = iif(NOT NEW.started AND first_claimed_at = claimed_at, NULL, first_claimed_at),
        finished_at = iif(NEW.state IN ('done', 'dead'), NEW.now, NULL),
        outcome = iif(
            NEW.outcomes IS NULL,
            outcome,
            coalesce(substr(NEW.outcomes, json_extract(settled.claim, '$[1]'), json_extract(settled.claim, '$[2]')), x'')
        ),
        secrets = iif(NEW.wipe, NULL, secrets),
        owner = '',
        consumer = ''
    FROM (
        SELECT claimed.rowid AS number, claim.value AS claim FROM json_each(NEW.given) AS claim CROSS JOIN task AS claimed
        WHERE claimed.queue = NEW.queue AND claimed.id = claim.key
            AND claimed.state = 'running' AND claimed.claim_number = json_extract(claim.value, '$[0]')
        LIMIT -1  -- else SQLite would look for each task among all of them
    ) AS settled
    WHERE task.rowid = settled.number;
    SELECT RAISE(ABORT, 'a settlement came too late') WHERE changes() <> NEW.tasks;
END;

-- Claim up to "tasks" ready tasks, or the one whose row is "given"; each claim has a number that no other claim of the
-- task ever has. Then say what they are: their small columns as JSON, with times in units of 2**-30 seconds, which are
-- whole numbers for all times since 1970; their large ones one after the other. Each row of an answer is a turn that the
-- threads of this process may take from us, so it is one; but for a task so large that it comes alone, since what stands
-- here is kept in memory until the next claim. Rows that are not as we write them are left out; what has no
-- text for an id is not claimed, since nobody could settle it.
CREATE TEMP TRIGGER change_claim INSTEAD OF INSERT ON change WHEN NEW.kind = 'claim' BEGIN
    DELETE FROM chosen;
    INSERT INTO chosen (number, size)
    SELECT rowid, max(1, length(body) + coalesce(length(secrets), 0)) FROM task
    WHERE NEW.given IS NULL AND queue = NEW.queue AND state = 'ready' AND suspect = 0 AND typeof(id) = 'text'
    ORDER BY priority DESC, id LIMIT NEW.tasks;
    INSERT INTO chosen (number, size)
    SELECT rowid, max(1, length(body) + coalesce(length(secrets), 0)) FROM task WHERE rowid = NEW.given;
    DELETE FROM chosen WHERE place IN (
        SELECT place FROM (
            SELECT place, sum(size) OVER (ORDER BY place) AS size_up_to_here FROM chosen
            WHERE (SELECT sum(size) FROM chosen) > NEW.bytes
        )
        WHERE size_up_to_here > NEW.bytes AND place > 1
    );
    UPDATE task
    SET state = 'running',
        claim_number = claim_number + 1,
        owner = NEW.owner,
        consumer = NEW.consumer,
        claimed_at = NEW.now,
        first_claimed_at = coalesce(first_claimed_at, NEW.now)
    WHERE rowid IN (SELECT number FROM chosen) AND +state = 'ready';
    DELETE FROM answer;
    INSERT INTO answer (count, told, content)
    SELECT
        (SELECT count(*) FROM chosen),
        json_group_array(json_array(
            id, priority, claim_number, attempts, deaths, suspect,
            CAST(due * 1073741824.0 AS INTEGER),
            CAST(staged_at * 1073741824.0 AS INTEGER),
            CAST(published_at * 1073741824.0 AS INTEGER),
            CAST(first_claimed_at * 1073741824.0 AS INTEGER),
            CAST(finished_at * 1073741824.0 AS INTEGER),
            length(body), length(secrets), length(envelope), length(outcome)
        )),
        CAST(group_concat(
            CAST(body AS TEXT) || CAST(coalesce(secrets, x'') AS TEXT) || CAST(envelope AS TEXT) || CAST(outcome AS TEXT), ''
        ) FILTER (WHERE (SELECT sum(size) FROM chosen) <= NEW.bytes) AS BLOB)
    FROM chosen CROSS JOIN task ON task.rowid = chosen.number
    WHERE typeof(id) = 'text' AND typeof(priority) = 'integer' AND typeof(claim_number) = 'integer'
        AND typeof(attempts) = 'integer' AND typeof(deaths) = 'integer' AND typeof(suspect) = 'integer'
        AND typeof(due) = 'real' AND typeof(staged_at) IN ('real', 'null') AND typeof(published_at) IN ('real', 'null')
        AND typeof(first_claimed_at) IN ('real', 'null') AND typeof(finished_at) IN ('real', 'null')
        AND typeof(body) = 'blob' AND typeof(secrets) IN ('blob', 'null')
        AND typeof(envelope) = 'blob' AND typeof(outcome) = 'blob';
END;
