"""The schema of a PostgreSQL database: its version, how it is made, and how an older one is brought up to date.

Each migration is one transaction together with the raise of the version, under a lock that ends with it: whoever is
killed on the way has changed nothing, and of two that migrate at the same time one finds nothing left to do. Knows no
queues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import BackendUnavailableError
from .statements import load

if TYPE_CHECKING:
    import psycopg

SCHEMA_VERSION = 1
# The one with index n leads to version n + 1.
MIGRATIONS = tuple(f"postgresql/migrations/{number:04}" for number in range(1, SCHEMA_VERSION + 1))

_FIND_SCHEMA = load("postgresql/find_schema")
_FIND_VERSION = load("postgresql/find_version")
_LOCK_SCHEMA = load("postgresql/lock_schema")
_SET_VERSION = load("postgresql/set_version").replace(":version", "%(version)s")


def version(connection: psycopg.Connection[Any]) -> int | None:
    """The version of the schema in a database, None when there is none."""
    row = connection.execute(_FIND_SCHEMA).fetchone()
    if row is None or not row[0]:
        return None
    row = connection.execute(_FIND_VERSION).fetchone()
    if row is None or not str(row[0]).isdigit():
        raise BackendUnavailableError(
            "the table taskqueue_meta of this database tells no version of the queue's tables; was it changed by hand?"
        )
    return int(row[0])


def migrate(connection: psycopg.Connection[Any]) -> list[int]:
    """Bring the schema up to date, or make it; returns the versions that it went through, none when it was.

    May be run by several processes at once, and again after it was killed. A newer schema stays as it is.
    """
    applied: list[int] = []
    while (found := version(connection) or 0) < SCHEMA_VERSION:
        with connection.transaction():
            # Whatever the database's default is: what is read after the lock must be as it is then.
            connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
            connection.execute(_LOCK_SCHEMA)
            if (version(connection) or 0) != found:
                continue  # somebody else did it meanwhile
            connection.execute(load(MIGRATIONS[found]))
            connection.execute(_SET_VERSION, {"version": str(found + 1)})
        applied.append(found + 1)
    return applied
