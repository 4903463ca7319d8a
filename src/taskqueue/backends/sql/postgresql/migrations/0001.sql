-- Schema version 1. One database may hold the queues of several sites: each row belongs to a queue, each queue to a
-- prefix. The numbers of a task stand before its texts, and those before the large columns. Each way of choosing tasks
-- has an index of its own, over those states only in which it looks. Only the primary key begins with the id, so that no
-- plan for tasks of known ids reads a whole queue, however old the statistics are. Nothing refers to a queue by a foreign key: each
-- task would lock the queue's row then.

CREATE TABLE taskqueue_meta (
    key text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE taskqueue_queue (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    paused boolean NOT NULL DEFAULT false,
    prefix text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    UNIQUE (prefix, name)
);

-- A task that is let go stays for an hour, as its id alone in the state gone: whoever would bring it back meets the
-- primary key, also when both happen at the same time.
CREATE TABLE taskqueue_task (
    priority bigint NOT NULL DEFAULT 0,
    due double precision NOT NULL DEFAULT 0,
    claim_number bigint NOT NULL DEFAULT 0,
    staged_at double precision,
    published_at double precision,
    first_claimed_at double precision,
    claimed_at double precision,
    finished_at double precision,
    queue integer NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    deaths integer NOT NULL DEFAULT 0,
    suspect boolean NOT NULL DEFAULT false,
    id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL DEFAULT '',
    consumer text COLLATE "C" NOT NULL DEFAULT '',
    envelope bytea NOT NULL DEFAULT '',
    outcome bytea NOT NULL DEFAULT '',
    body bytea NOT NULL,
    secrets bytea,
    PRIMARY KEY (id, queue)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 500,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX taskqueue_task_state ON taskqueue_task (queue, state, id) WHERE state <> 'gone';
CREATE INDEX taskqueue_task_ready ON taskqueue_task (queue, priority DESC, id) WHERE state = 'ready' AND NOT suspect;
CREATE INDEX taskqueue_task_suspect ON taskqueue_task (queue, priority DESC, id) WHERE state = 'ready' AND suspect;
CREATE INDEX taskqueue_task_scheduled ON taskqueue_task (queue, due) WHERE state = 'scheduled';
CREATE INDEX taskqueue_task_finished ON taskqueue_task (queue, state, finished_at, id)
    WHERE state IN ('done', 'dead', 'gone');
CREATE INDEX taskqueue_task_exposed ON taskqueue_task (queue, finished_at)
    WHERE state = 'dead' AND secrets IS NOT NULL;

-- Who holds or held a lease. The number of beats grows even when the clock stands still.
CREATE TABLE taskqueue_owner (
    beats bigint NOT NULL DEFAULT 1,
    seen_at double precision NOT NULL,
    lease double precision NOT NULL,
    started_at double precision NOT NULL,
    pid bigint NOT NULL,
    queue integer NOT NULL,
    retired integer NOT NULL DEFAULT 0,
    id text COLLATE "C" NOT NULL,
    host text NOT NULL,
    consumers text NOT NULL,
    PRIMARY KEY (queue, id)
) WITH (fillfactor = 50);
