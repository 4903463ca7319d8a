"""The stores that the machine runs on: how a process opens its queues, and how a lease comes to its end.

``lapse`` has the leases of some owners lapse while those of the others are renewed, takes back what they held, and
returns what that was. ``ends_silence`` says whether a process that stands still loses its lease, ``is_certain`` whether
a call that fails has changed nothing, and will not.
"""

import contextlib
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import psycopg

from taskqueue.backends.local import LocalQueue
from taskqueue.backends.postgresql import PostgreSQLQueue
from taskqueue.backends.postgresql_server import Herald
from taskqueue.backends.redis import RedisQueue
from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.interfaces import Reclaimed

from ..backends import postgresql_clock, postgresql_queues, redis_clock
from ..backends.compared import MAX_DEATHS
from ..backends.making import beat
from ..backends.postgresql_server import new_database, shared_server
from ..backends.redis_server import Server as RedisServer

MEMORY = Path("/dev/shm")  # what a disk does is not asked here


class LocalStore:
    """The memory of one process: whoever dies takes everything along."""

    survives = False
    ends_silence = False
    is_certain = True

    def __init__(self):
        self._queues = {}

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass

    def clear(self):
        """Nothing is there."""
        self._queues = {}

    def open(self, name):
        """A queue as one process has it."""
        return self._queues.setdefault(name, LocalQueue(name=name))

    def lapse(self, queue, lapsing, living, monotonic):
        """The owners leave."""
        for owner_id in lapsing:
            queue.retire(owner_id)
        return queue.reclaim(MAX_DEATHS)


class SQLiteStore(LocalStore):
    """A file; an owner lives as long as it has a lock, which ends with the objects of its process."""

    survives = True

    def __init__(self):
        super().__init__()
        self._folder = None

    def __exit__(self, *exc_info):
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def clear(self):
        self.__exit__()
        self._folder = tempfile.mkdtemp(prefix="taskqueue-machine-", dir=MEMORY if MEMORY.is_dir() else None)

    def open(self, name):
        return SQLiteQueue(name=name, path=Path(self._folder) / "tasks.db")


class RedisStore:
    """A server of its own; an owner's lease lapses when nobody has heard of it for as long as it lasts."""

    survives = True
    ends_silence = True
    is_certain = False
    LOOKS = 6  # a look counts for a quarter of a lease at most
    LOOKS_BETWEEN_BEATS = 3
    SECONDS_BETWEEN_LOOKS = 15.5

    def __init__(self):
        self._server = RedisServer()
        self._used = contextlib.ExitStack()

    def __enter__(self):
        self._used.enter_context(self._server)
        self._used.enter_context(redis_clock.clock_of_this_process())
        return self

    def __exit__(self, *exc_info):
        self._used.close()

    def clear(self):
        self._server.ask("FLUSHALL")

    def open(self, name):
        return RedisQueue(name=name, **self._server.address)

    def lapse(self, queue, lapsing, living, monotonic):
        found = []
        for look in range(self.LOOKS if lapsing else 1):
            monotonic.ahead += self.SECONDS_BETWEEN_LOOKS if lapsing else 0.0
            for owner_id in living if look % self.LOOKS_BETWEEN_BEATS == 0 else ():
                beat(queue, owner_id)
            found.append(queue.reclaim(MAX_DEATHS))
        return Reclaimed(
            ready=tuple(task_id for each in found for task_id in each.ready),
            dead=tuple(task_id for each in found for task_id in each.dead),
            held=tuple(task_id for each in found for task_id in each.held),
        )


class PostgreSQLStore(RedisStore):
    """A database; leases are judged as on Redis."""

    def __init__(self):
        self._url = ""
        self._connection = None
        self._used = contextlib.ExitStack()

    def __enter__(self):
        self._url = self._used.enter_context(new_database(shared_server()))
        postgresql_queues.empty(self._url)
        self._connection = self._used.enter_context(psycopg.connect(self._url, autocommit=True))
        self._used.enter_context(postgresql_clock.clock_of_this_process())
        # What the server says of itself is asked with every beat, and is the same each time.
        self._used.enter_context(mock.patch.object(Herald, "tell"))
        return self

    def clear(self):
        self._connection.execute(postgresql_queues.CLEAR)

    def open(self, name):
        return PostgreSQLQueue(name=name, url=self._url)


STORES = {"local": LocalStore, "sqlite": SQLiteStore, "redis": RedisStore, "postgresql": PostgreSQLStore}
