"""The table by which a SQL database tells whether transactions committed, and its statements.

    mark          a key; or the name of a row of the table's own
    says          "committed": written by the transaction itself. "settled": by somebody who asked, before it committed
    noted_at      seconds since the epoch, by the clock of who wrote the row

Two rows are the table's own: one holds the random name of this database, one until when rows were thrown away. Knows
connections, and neither sessions nor transactions of the application.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Dialect, Double, Index, MetaData, String, Table, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable

COMMITTED = "committed"
SETTLED = "settled"

_IDENTITY = "taskqueue:identity"
_TIDIED = "taskqueue:tidied"
_BATCH = 1000
_KEYS_AT_ONCE = 500  # some databases take no more than 999 parameters
# SQLSTATEs of PostgreSQL: a lock was not available, serialization failed, a deadlock.
_GAVE_UP = frozenset({"55P03", "40001", "40P01"})


class CommitTable:
    """One table; the connection is always the caller's, and so is its transaction."""

    def __init__(self, name: str) -> None:
        self.name = name
        schema, _, bare = name.rpartition(".")
        self._table = Table(
            bare,
            MetaData(),
            Column("mark", String(100), primary_key=True),
            Column("says", String(40), nullable=False),
            Column("noted_at", Double, nullable=False),
            Index(f"{bare}_noted_at", "noted_at"),
            schema=schema or None,
        )

    def ddl(self, dialect: Dialect) -> str:
        """The statements that create the table, in a database's own words."""
        indexes = sorted(self._table.indexes, key=lambda index: str(index.name))
        compiled = [CreateTable(self._table).compile(dialect=dialect)]
        compiled += [CreateIndex(each).compile(dialect=dialect) for each in indexes]
        return " ".join(" ".join(str(statement).split()) + ";" for statement in compiled)

    # ---- the table itself

    def identity(self, connection: Connection) -> str | None:
        """The random name of this database; None when there is no table, or nothing in it."""
        if not inspect(connection).has_table(self._table.name, schema=self._table.schema):
            return None
        return self.says(connection, [_IDENTITY]).get(_IDENTITY)

    def make_ready(self, connection: Connection) -> str:
        """Create what is missing of the table; return the random name of this database."""
        self._table.metadata.create_all(connection)
        name = secrets.token_hex(16)
        self.insert(connection, _IDENTITY, name, time.time())
        return name

    @contextlib.contextmanager
    def impatient(self, connection: Connection, seconds: float) -> Iterator[None]:
        """For the time of a block, wait no longer for locks. Other databases than these two wait as they are set up."""
        milliseconds = max(1, round(seconds * 1000))
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {milliseconds}")
            yield
        elif connection.dialect.name == "sqlite":
            before = _ask_driver(connection, "PRAGMA busy_timeout")
            _ask_driver(connection, f"PRAGMA busy_timeout = {milliseconds}")
            try:
                yield
            finally:
                if not connection.invalidated and not connection.closed:
                    _ask_driver(connection, f"PRAGMA busy_timeout = {before}")
        else:
            yield

    # ---- its rows

    def insert(self, connection: Connection, key: str, says: str, now: float) -> None:
        """Write a row. Raises IntegrityError when there is one."""
        connection.execute(self._table.insert().values(mark=key, says=says, noted_at=now))

    def says(self, connection: Connection, keys: Sequence[str]) -> dict[str, str]:
        """What the rows of these keys say; nothing of those that there are not."""
        table = self._table
        found: dict[str, str] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            wanted = table.c.mark.in_(keys[start : start + _KEYS_AT_ONCE])
            found |= {
                row.mark: row.says for row in connection.execute(select(table.c.mark, table.c.says).where(wanted))
            }
        return found

    def tidied_until(self, connection: Connection) -> float:
        """Rows that were noted before this time may have been thrown away."""
        table = self._table
        return connection.scalar(select(table.c.noted_at).where(table.c.mark == _TIDIED)) or 0.0

    def throw_away(self, connection: Connection, until: float) -> int:
        """Delete some of the rows that were noted before; return how many."""
        table = self._table
        is_old = (table.c.noted_at < until) & table.c.says.in_([COMMITTED, SETTLED])
        old = [row.mark for row in connection.execute(select(table.c.mark).where(is_old).limit(_BATCH))]
        if old:
            self._note_tidied(connection, until)
            for start in range(0, len(old), _KEYS_AT_ONCE):
                connection.execute(table.delete().where(table.c.mark.in_(old[start : start + _KEYS_AT_ONCE])))
        return len(old)

    def _note_tidied(self, connection: Connection, until: float) -> None:
        table = self._table
        tidied_until = self.tidied_until(connection)
        if not tidied_until:
            self.insert(connection, _TIDIED, "tidied", until)
        elif tidied_until < until:
            connection.execute(table.update().where(table.c.mark == _TIDIED).values(noted_at=until))


def gave_up_waiting(error: DBAPIError) -> bool:
    """Whether somebody else holds what was asked for, so that asking again later helps."""
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return state in _GAVE_UP or "database is locked" in str(error.orig) or "database table is locked" in str(error.orig)


def _ask_driver(connection: Connection, statement: str) -> Any:
    """Run a statement that begins no transaction; the first value of its answer."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement)
        row = cursor.fetchone()
    finally:
        cursor.close()
    return row[0] if row else None
