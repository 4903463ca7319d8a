"""Queues of the backend ``postgresql`` for tests: in one database, which is emptied before each test."""

import contextlib

import psycopg

from taskqueue.backends import postgresql_schema
from taskqueue.backends.postgresql import PostgreSQLQueue

# The queues stay, since connections that are still open know them by their numbers. What little is there is deleted
# faster than tables are truncated.
CLEAR = "DELETE FROM taskqueue_task; DELETE FROM taskqueue_owner; UPDATE taskqueue_queue SET paused = false"


def empty(url):
    """Make the tables, or take everything out of them."""
    with psycopg.connect(url, autocommit=True) as connection:
        postgresql_schema.migrate(connection)
        connection.execute(CLEAR)


class Opener:
    """Opens queues in one database, and closes them all."""

    def __init__(self, url):
        self.url = url
        self._opened = []

    def __call__(self, name="default", **options):
        queue = PostgreSQLQueue(name=name, **{"url": self.url, **options})
        self._opened.append(queue)
        return queue

    def close(self):
        """Close what was opened."""
        for queue in self._opened:
            with contextlib.suppress(Exception):
                queue.close()
