"""The schema of a SQLite file: made when it is missing, migrated when asked to, refused when it is not one we know.

Each release knows one version. ``sql/schema_1.sql`` makes the first, each file after it raises a schema to its number.
Processes that have the file open meanwhile go on with the statements of before: those must still work, or fail.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ..errors import BackendUnavailableError
from ..interfaces import SchemaStatus
from .statements import load, load_all

MIGRATIONS = (load_all("schema_1"),)  # the statements that raise the schema to 1, 2 …
SCHEMA_VERSION = len(MIGRATIONS)
OLDEST_SQLITE = (3, 33)  # the statements use UPDATE … FROM

_CREATE_QUEUE = load("create_queue")
_FIND_QUEUE = load("find_queue")
_SET_VERSION = load("set_version")


@dataclass(frozen=True)
class Layout:
    """What a file must contain for one queue: the schema, and the number of the queue."""

    path: str
    prefix: str
    name: str

    def find(self, connection: sqlite3.Connection) -> int | None:
        """The number of the queue; None when the schema or the queue is missing. Changes nothing.

        Raises BackendUnavailableError for a file of another release, or of another program.
        """
        version = self._version(connection)
        if version == 0:
            return None
        self._refuse_newer(version)
        if version < SCHEMA_VERSION:
            raise self._refused(
                f"was made by an older release (its schema is {version}, this release needs {SCHEMA_VERSION}); "
                "run taskqueue migrate"
            )
        row = connection.execute(_FIND_QUEUE, {"prefix": self.prefix, "name": self.name}).fetchone()
        return None if row is None else int(row[0])

    def create(self, connection: sqlite3.Connection) -> int:
        """Create what is missing; returns the number of the queue. The caller holds the write lock."""
        connection.execute("BEGIN IMMEDIATE")
        if self._version(connection) == 0:
            for number in range(1, SCHEMA_VERSION + 1):
                _raise_to(connection, number)
        number = self._create_queue(connection)
        connection.execute("COMMIT")
        return number

    def status(self, connection: sqlite3.Connection) -> SchemaStatus:
        """Which version there is. Changes nothing. Raises BackendUnavailableError for a file of another program."""
        return SchemaStatus(found=self._version(connection), known=SCHEMA_VERSION)

    def migrate(self, connection: sqlite3.Connection) -> list[int]:
        """Raise the schema to this release's, one version a transaction; the versions that it was raised to.

        The caller holds the write lock. Whatever interrupts it, the file has one of the versions, and all its tasks.
        Raises BackendUnavailableError for a file of a newer release, or of another program.
        """
        raised: list[int] = []
        if self._version(connection) == 0:
            self.create(connection)
            return list(range(1, SCHEMA_VERSION + 1))
        while True:
            connection.execute("BEGIN IMMEDIATE")
            version = self._version(connection)
            self._refuse_newer(version)
            if version == SCHEMA_VERSION:
                self._create_queue(connection)
                connection.execute("COMMIT")
                return raised
            _raise_to(connection, version + 1)
            connection.execute("COMMIT")
            raised.append(version + 1)

    def _version(self, connection: sqlite3.Connection) -> int:
        """The version of the schema, 0 in an empty file."""
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise self._refused(f"needs SQLite {oldest} or newer, and Python has {sqlite3.sqlite_version}")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            return 0
        if not {"meta", "queue", "task"} <= tables:
            raise self._refused("is a database of something else; choose another path")
        version = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        if version is None or not str(version[0]).isdigit():
            raise self._refused("is a database of something else; choose another path")
        return int(version[0])

    def _refuse_newer(self, version: int) -> None:
        if version > SCHEMA_VERSION:
            raise self._refused(
                f"was made by a newer release (its schema is {version}, this release knows {SCHEMA_VERSION}); "
                "upgrade this instance"
            )

    def _create_queue(self, connection: sqlite3.Connection) -> int:
        connection.execute(_CREATE_QUEUE, {"prefix": self.prefix, "name": self.name})
        (number,) = connection.execute(_FIND_QUEUE, {"prefix": self.prefix, "name": self.name}).fetchone()
        return int(number)

    def _refused(self, reason: str) -> BackendUnavailableError:
        return BackendUnavailableError(f"{self.path}: {reason}")


def _raise_to(connection: sqlite3.Connection, version: int) -> None:
    """Raise a schema by one version, its number included, within the caller's transaction."""
    for statement in MIGRATIONS[version - 1]:
        connection.execute(statement)
    connection.execute(_SET_VERSION, {"version": str(version)})
