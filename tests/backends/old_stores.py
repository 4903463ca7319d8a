"""Stores as releases have left them: one file for each backend and version, written once and kept for ever.

``python -m tests.backends.old_stores BACKEND FILE`` writes one with the code of today, before a release that changes
what is stored. The text of a file is what its server's own tools take: SQL, or commands of Redis in JSON.
"""

import json
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from taskqueue.backends.postgresql import PostgreSQLQueue
from taskqueue.backends.redis import RedisQueue
from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.interfaces import Owner, Settlement
from taskqueue.record import Envelope, Keyring, Outcome, Principal, Task, encode, encode_part

from .postgresql_server import run_program, shared_server
from .redis_server import Server as RedisServer

FOLDER = Path(__file__).parent / "stores"
KEYRING = Keyring([b"the key with which old stores are sealed"])
OWNER = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
FAR_AHEAD = 4_000_000_000.0  # when what is scheduled is due
STATES = ("done", "dead", "running", "ready", "scheduled", "staged", "held")
IDS = {state: f"01930000-0000-7000-8000-00000000000{number}" for number, state in enumerate(STATES)}


def task_in(state):
    """The task that each store has in this state, as it was added."""
    return Task(
        id=IDS[state],
        queue="default",
        method="POST",
        url=f"/{state}?gr%C3%BC%C3%9Fe=1&to=a",
        headers=(("Accept", "text/html"), ("Content-Type", "text/plain"), ("Cookie", f"session={state}")),
        payload=f"payload of {state} \0\xff".encode(),
        base_url="https://www.example.org/site",
        connection={"REMOTE_ADDR": "192.0.2.1", "SERVER_NAME": "www.example.org"},
        principal=Principal("ada", "pyramid"),
        priority={"ready": 7, "running": 9}.get(state, 0),
        due=FAR_AHEAD if state == "scheduled" else 0.0,
        max_attempts=5,
        added_at=1_790_000_000.0,
    )


def fill(queue):
    """Bring one task into each state; its owner is gone afterwards."""
    records = {state: encode(task_in(state), KEYRING) for state in STATES}
    queue.beat(Owner(id=OWNER, host="a-host", pid=4321, started_at=1_790_000_000.0, consumers=("default",)), 60.0, 5.0)
    for state in ("done", "dead", "running"):
        queue.publish([records[state]], 5.0)
        (claimed,) = queue.exchange(OWNER, "default", (), 1).claimed
        if state != "running":
            _hand_in(queue, claimed, state)
    queue.publish([records["ready"], records["scheduled"]], 5.0)
    envelope = encode_part(Envelope(transaction_id="a-transaction", owner=OWNER))
    queue.stage([records["staged"], records["held"]], envelope, OWNER, 5.0)
    queue.settle([IDS["held"]], "hold", 5.0)
    queue.retire(OWNER)


def _hand_in(queue, claimed, state):
    outcome = encode_part(Outcome(state=state, reason="answered", status=200 if state == "done" else 404, attempt=1))
    settlement = Settlement(
        id=claimed.id, claim_number=claimed.claim_number, state=state, attempts=1, outcome=outcome, wipe=state == "done"
    )
    assert not queue.exchange(OWNER, "default", [settlement], 0).refused


class SQLiteStore:
    """A SQLite file."""

    backend, suffix = "sqlite", "sql"

    def __init__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="taskqueue-store-"))
        self.path = self._folder / "tasks.db"
        self.code = "queue = SQLiteQueue(name='default', path=path)"  # how another process opens it
        self.argument = self.path

    def open(self):
        return SQLiteQueue(name="default", path=self.path)

    def load(self, text):
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(text)

    def schema(self):
        """What there is, but for the order in which it was made."""
        with closing(sqlite3.connect(self.path)) as connection:
            return sorted(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall(), key=str)

    def dump(self):
        with closing(sqlite3.connect(self.path)) as connection:
            return "\n".join(connection.iterdump()) + "\n"

    def close(self):
        shutil.rmtree(self._folder)


class RedisStore:
    """A Redis server."""

    backend, suffix = "redis", "json"

    def __init__(self):
        self._server = RedisServer()
        self._server.start()
        self.argument = self._server.socket_path
        self.code = (
            "from taskqueue.backends.redis import RedisQueue\nqueue = RedisQueue(name='default', unix_socket_path=path)"
        )

    def open(self):
        return RedisQueue(name="default", unix_socket_path=self._server.socket_path)

    def load(self, text):
        for command in json.loads(text):
            self._server.ask(*(word.encode("latin-1") for word in command))

    def dump(self):
        lines = []
        for key in sorted(self._server.ask("KEYS", "*")):
            kind = self._server.ask("TYPE", key)
            if kind == b"hash":
                words = [word for pair in sorted(self._server.ask("HGETALL", key).items()) for word in pair]
                lines.append([b"HSET", key, *words])
            else:
                assert kind == b"zset", f"{key} is a {kind}"
                scored = self._server.ask("ZRANGE", key, 0, -1, "WITHSCORES")
                lines.append([b"ZADD", key, *(word for id_, score in scored for word in (b"%r" % score, id_))])
        commands = [json.dumps([word.decode("latin-1") for word in line]) for line in lines]
        return "[\n" + ",\n".join(commands) + "\n]\n"

    def close(self):
        self._server.__exit__()


class PostgreSQLStore:
    """A database on a PostgreSQL server."""

    backend, suffix = "postgresql", "sql"

    def __init__(self):
        self._server = shared_server()
        self.argument = self._server.create_database()
        self.code = (
            "from taskqueue.backends.postgresql import PostgreSQLQueue\n"
            "queue = PostgreSQLQueue(name='default', url=path)"
        )

    def open(self):
        return PostgreSQLQueue(name="default", url=self.argument)

    def load(self, text):
        # What it sets holds for its connection: another one is used afterwards.
        self._server.ask(text, database=self._database)

    def schema(self):
        """What there is, but for the order in which it was made."""
        columns = (
            "SELECT table_name, column_name, data_type, collation_name, column_default, is_nullable, is_identity "
            "FROM information_schema.columns WHERE table_schema = 'public'"
        )
        indexes = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        options = "SELECT relname, reloptions::text FROM pg_class WHERE relname LIKE 'taskqueue%'"
        found = [self._server.ask(each, database=self._database) for each in (columns, indexes, options)]
        return sorted((row for rows in found for row in rows), key=str)

    def dump(self):
        options = ("--inserts", "--no-owner", "--no-privileges")
        text = run_program(self._server.programs / "pg_dump", *options, self.argument)
        return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(("--", "\\")))

    def close(self):
        self._server.drop_database(self.argument)

    @property
    def _database(self):
        return self.argument.rpartition("/")[2]


STORES = {store.backend: store for store in (SQLiteStore, RedisStore, PostgreSQLStore)}


def write(backend, file):
    """Write what the code of today stores."""
    store = STORES[backend]()
    try:
        queue = store.open()
        fill(queue)
        queue.close()
        Path(file).write_text(store.dump())
    finally:
        store.close()


if __name__ == "__main__":
    write(*sys.argv[1:])
