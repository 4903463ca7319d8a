-- Schema version 1. One file may hold the queues of several sites: each row belongs to a queue, each queue to a prefix.
-- The small columns of a task stand before the large ones, so that choosing and counting never read a body.
-- Each way of choosing tasks has an index of its own, over those states only in which it looks.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE queue (
    number INTEGER PRIMARY KEY,
    prefix TEXT NOT NULL,
    name TEXT NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    UNIQUE (prefix, name)
);

CREATE TABLE task (
    queue INTEGER NOT NULL REFERENCES queue (number),
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    due REAL NOT NULL,
    claim_number INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,
    suspect INTEGER NOT NULL DEFAULT 0,
    owner TEXT NOT NULL DEFAULT '',
    consumer TEXT NOT NULL DEFAULT '',
    staged_at REAL,
    published_at REAL,
    first_claimed_at REAL,
    claimed_at REAL,
    finished_at REAL,
    envelope BLOB NOT NULL DEFAULT x'',
    outcome BLOB NOT NULL DEFAULT x'',
    body BLOB NOT NULL,
    secrets BLOB,
    PRIMARY KEY (queue, id)
);

CREATE INDEX task_state ON task (queue, state, id);
CREATE INDEX task_ready ON task (queue, priority DESC, id) WHERE state = 'ready' AND suspect = 0;
CREATE INDEX task_suspect ON task (queue, priority DESC, id) WHERE state = 'ready' AND suspect = 1;
CREATE INDEX task_age ON task (queue, max(published_at, due)) WHERE state = 'ready';
CREATE INDEX task_scheduled ON task (queue, due) WHERE state = 'scheduled';
CREATE INDEX task_finished ON task (queue, state, finished_at, id) WHERE finished_at IS NOT NULL;
CREATE INDEX task_exposed ON task (queue, finished_at) WHERE state = 'dead' AND secrets IS NOT NULL;

-- Ids of tasks that were let go: for an hour, nothing brings them back.
CREATE TABLE gone (
    queue INTEGER NOT NULL REFERENCES queue (number),
    id TEXT NOT NULL,
    gone_at REAL NOT NULL,
    PRIMARY KEY (queue, id)
) WITHOUT ROWID;

CREATE INDEX gone_at ON gone (queue, gone_at);

-- What people want to know of owners. Whether one is alive is told by the lock on its file, unless it has retired.
CREATE TABLE owner (
    queue INTEGER NOT NULL REFERENCES queue (number),
    id TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at REAL NOT NULL,
    consumers TEXT NOT NULL,
    seen_at REAL NOT NULL,
    retired INTEGER NOT NULL,
    PRIMARY KEY (queue, id)
) WITHOUT ROWID;
