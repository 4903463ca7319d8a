"""The applications of the kill proofs: what a request of theirs writes, and what a replay of theirs writes.

Each store keeps what was *written*, by the number of a cycle, and the *effects* of tasks, one entry for each time that
a task's transaction committed. Nothing is opened before ``open``: a process that was forked before that shares nothing
with its parent. SIGKILL leaves to the kernel what a process has written, so nothing here waits for a disk.
"""

import sys
from collections import Counter

import psycopg
import transaction
import ZODB
import zope.sqlalchemy
from BTrees.OOBTree import OOBTree
from psycopg.sql import SQL, Literal
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, event, select
from sqlalchemy.orm import registry, sessionmaker
from ZODB.FileStorage import FileStorage

import taskqueue

sys.modules[FileStorage.__module__].fsync = None

METADATA = MetaData()
WRITTEN = Table("written", METADATA, Column("cycle", Integer, primary_key=True), Column("tasks", Integer))
EFFECTS = Table("effects", METADATA, Column("id", Integer, primary_key=True), Column("task", Text, index=True))


class Written:
    """A row: how many tasks a cycle has added."""


class Effect:
    """A row: one effect of one task."""


_mapped = registry()
_mapped.map_imperatively(Written, WRITTEN)
_mapped.map_imperatively(Effect, EFFECTS)


class ZODBStore:
    """A FileStorage; one process at a time has it open."""

    name = "zodb"

    def __init__(self, path):
        self._path = str(path)
        self._db = None

    def create(self):
        """Make the file, in a process that ends then."""
        self.open()
        connection = self._db.open()
        connection.root()["written"] = OOBTree()
        connection.root()["effects"] = OOBTree()
        transaction.commit()
        connection.close()
        self.close()

    def open(self):
        """Open the file, and have it asked whether transactions committed."""
        self._db = ZODB.DB(FileStorage(self._path), pool_size=20)
        return taskqueue.register_witness(self._db)

    def close(self):
        """Close the file, with its index."""
        self._db.close()

    def join(self, manager):
        """What a request writes with."""
        return _ZODBRequest(self._db.open(manager))

    def read(self, first):
        """What cycles from the ``first`` on have written, and how often their tasks had an effect."""
        connection = self._db.open(transaction.TransactionManager())
        root = connection.root()
        written = dict(root["written"].items(first))
        effects = Counter({task: count for task, count in root["effects"].items() if _cycle_of(task) >= first})
        connection.close()
        return written, effects

    def places(self):
        """Places inside of the storage: an object, its method, and the side of the call."""
        storage = self._db.storage
        return {
            "zodb.voted": (storage, "tpc_vote", "after"),
            "zodb.unfinished": (storage, "_finish", "before"),
            "zodb.status in buffer": (storage, "_finish_finish", "before"),
            "zodb.status in file": (storage, "_finish_finish", "after"),
            "zodb.finished": (storage, "tpc_finish", "after"),
        }

    def prepared(self):
        """There are no prepared transactions here."""
        return []


class _ZODBRequest:
    def __init__(self, connection):
        self._connection = connection

    def write(self, cycle, tasks):
        self._connection.root()["written"][cycle] = tasks

    def note_effect(self, task):
        effects = self._connection.root()["effects"]
        effects[task] = effects.get(task, 0) + 1

    def close(self):
        self._connection.close()


class SQLStore:
    """A database behind SQLAlchemy and zope.sqlalchemy, which commits in one phase or in two."""

    name = "sql"

    def __init__(self, url, two_phase=False):
        self._url = url
        self._two_phase = two_phase
        self._engine = self._sessions = None

    def create(self):
        """Make the tables, the witness's among them, in a process that ends then."""
        witness = self.open()
        METADATA.create_all(self._engine)
        assert witness.database
        self.close()

    def open(self):
        """Open the database, and have it asked whether transactions committed."""
        if self._url.startswith("sqlite"):
            self._engine = create_engine(self._url, connect_args={"timeout": 20})
            event.listen(self._engine, "connect", lambda each, _: each.execute("PRAGMA synchronous = OFF"))
        else:
            self._engine = create_engine(self._url)
        self._sessions = sessionmaker(self._engine, twophase=self._two_phase)
        return taskqueue.register_witness(self._sessions)

    def close(self):
        """Close all connections."""
        self._engine.dispose()

    def join(self, manager):
        """What a request writes with."""
        session = self._sessions()
        zope.sqlalchemy.register(session, transaction_manager=manager)
        return _SQLRequest(session)

    def read(self, first):
        """What cycles from the ``first`` on have written, and how often their tasks had an effect."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(WRITTEN.c.cycle, WRITTEN.c.tasks).where(WRITTEN.c.cycle >= first))
            written = {row.cycle: row.tasks for row in rows}
            effects = Counter(row.task for row in connection.execute(select(EFFECTS.c.task)))
        return written, Counter({task: count for task, count in effects.items() if _cycle_of(task) >= first})

    def places(self):
        """Places around the database's own commit: an object, its method, and the side of the call."""
        dialect = self._engine.dialect
        if not self._two_phase:
            return {
                "sql.uncommitted": (dialect, "do_commit", "before"),
                "sql.committed": (dialect, "do_commit", "after"),
            }
        return {
            "sql.unprepared": (dialect, "do_prepare_twophase", "before"),
            "sql.prepared": (dialect, "do_prepare_twophase", "after"),
            "sql.uncommitted": (dialect, "do_commit_twophase", "before"),
            "sql.committed": (dialect, "do_commit_twophase", "after"),
        }

    def prepared(self):
        """The names of the transactions that are prepared, and neither committed nor rolled back."""
        if not self._two_phase:
            return []
        with self._operator() as connection:
            found = connection.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
            return [name for (name,) in found]

    def resolve(self, names, chance):
        """Do what an operator has to: commit them, or roll them back."""
        with self._operator() as connection:
            for name in names:
                statement = chance.choice(("COMMIT PREPARED {}", "ROLLBACK PREPARED {}"))
                connection.execute(SQL(statement).format(Literal(name)))

    def _operator(self):
        return psycopg.connect(self._url.replace("+psycopg", ""), autocommit=True)


class _SQLRequest:
    def __init__(self, session):
        self._session = session

    def write(self, cycle, tasks):
        row = Written()
        row.cycle, row.tasks = cycle, tasks
        self._session.add(row)

    def note_effect(self, task):
        row = Effect()
        row.task = task
        self._session.add(row)

    def close(self):
        self._session.close()


def _cycle_of(task):
    return int(task.partition("-")[0])


def make_stores(application, folder, sql_url):
    """The stores of one of the applications, by its name."""
    stores = []
    if "ZODB" in application:
        stores.append(ZODBStore(folder / "Data.fs"))
    if "SQL" in application:
        stores.append(SQLStore(sql_url, two_phase="two-phase" in application))
    return stores
