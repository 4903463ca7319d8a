"""The schema of a SQLite file: made when it is missing, refused when it is not one that we know."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ..errors import BackendUnavailableError
from .statements import load

SCHEMA_VERSION = 1
OLDEST_SQLITE = (3, 32)  # the statements use iif()

_CREATE_SCHEMA = load("create_schema")
_CREATE_QUEUE = load("create_queue")
_FIND_QUEUE = load("find_queue")


@dataclass(frozen=True)
class Layout:
    """What a file must contain for one queue: the schema, and the number of the queue."""

    path: str
    prefix: str
    name: str

    def find(self, connection: sqlite3.Connection) -> int | None:
        """The number of the queue; None when the schema or the queue is missing. Changes nothing.

        Raises BackendUnavailableError for a file that a newer release made, or another program.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise self._refused(f"needs SQLite {oldest} or newer, and Python has {sqlite3.sqlite_version}")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            return None
        if not {"meta", "queue", "task"} <= tables:
            raise self._refused("is a database of something else; choose another path")
        version = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        if version is None or not str(version[0]).isdigit():
            raise self._refused("is a database of something else; choose another path")
        if int(version[0]) > SCHEMA_VERSION:
            raise self._refused(
                f"was made by a newer release (its schema is {version[0]}, this release knows {SCHEMA_VERSION}); "
                "upgrade this instance"
            )
        row = connection.execute(_FIND_QUEUE, {"prefix": self.prefix, "name": self.name}).fetchone()
        return None if row is None else int(row[0])

    def create(self, connection: sqlite3.Connection) -> int:
        """Create what is missing; returns the number of the queue. The caller holds the write lock."""
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            for statement in _CREATE_SCHEMA.split(";"):
                if statement.strip():
                    connection.execute(statement)
        connection.execute(_CREATE_QUEUE, {"prefix": self.prefix, "name": self.name})
        (number,) = connection.execute(_FIND_QUEUE, {"prefix": self.prefix, "name": self.name}).fetchone()
        connection.execute("COMMIT")
        return int(number)

    def _refused(self, reason: str) -> BackendUnavailableError:
        return BackendUnavailableError(f"{self.path}: {reason}")
