"""A database behind SQLAlchemy and zope.sqlalchemy as a witness: a row that commits with the application's data.

The row is written through the application's own session, so that it is there if and only if the transaction committed.
Who asks inserts the same key: where that succeeds, the transaction can never commit any more. Whoever asks does so on a
connection of its own; in a request that adds, the application's is used.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import ConfigurationError
from ..interfaces import Execute, Testimony, Witness, WitnessMark

try:
    import sqlalchemy
    from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
    from sqlalchemy.orm import sessionmaker
    from sqlalchemy.pool import QueuePool, SingletonThreadPool, StaticPool
    from zope.sqlalchemy import datamanager, mark_changed
except ImportError as absent:
    raise ConfigurationError(
        f"a witness for SQL needs SQLAlchemy and zope.sqlalchemy ({absent}); install wsgi-taskqueue[sqlalchemy]"
    ) from None

from .commit_table import COMMITTED, SETTLED, CommitTable, gave_up_waiting

__all__ = ["SQLWitness"]

KEEP_SECONDS = 2 * 86400.0
TIDY_SECONDS = 2.0
READY_WAIT_SECONDS = 1.0
LOCK_WAIT_SECONDS = 0.1  # who still holds the row may hold it for long

_COMMITTING = "Committing"  # ITransaction.status
_LATE = "late"  # a position: the key could not be written any more
_TESTIMONIES: Mapping[str, Testimony] = {COMMITTED: "yes", SETTLED: "no"}


class SQLWitness(Witness):
    """Asks the database of a ``sessionmaker`` or a ``scoped_session``, whose sessions zope.sqlalchemy has registered.

    ``table`` is the name of the table that is made when it is missing; ``schema.name`` puts it in a schema.
    """

    kind = "sql"
    fences = True

    def __init__(self, session_factory: Callable[[], Any], table: str = "taskqueue_commit") -> None:
        self._factory: Any = getattr(session_factory, "session_factory", session_factory)
        self._table = CommitTable(table)
        self._identity: str | None = None
        self._has_begun = False
        if isinstance(self._factory, sessionmaker):
            sqlalchemy.event.listen(self._factory, "after_begin", self._prepare)
        self._memory = f"memory:{secrets.token_hex(8)}"

    def __repr__(self) -> str:
        return f"<SQLWitness {self._table.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SQLWitness) and (other._factory, other._table.name) == (
            self._factory,
            self._table.name,
        )

    def __hash__(self) -> int:
        return hash((SQLWitness, id(self._factory)))

    @property
    def database(self) -> str:
        """A random name that the database itself keeps: its address differs from where it is seen."""
        if self._is_in_memory():
            return self._memory
        if self._identity is None:
            with self._translated():
                self._identity = self._make_ready()
        return self._identity

    def ddl(self) -> str:
        """What makes the table, for those whose application may not."""
        return self._table.ddl(self._engine().dialect)

    # ---- in a request --------------------------------------------------------------------------------------------

    def _prepare(self, _session: Any, _transaction: Any, connection: Any) -> None:
        """Make the table when the first session begins: it has no locks yet, and cannot take the table back."""
        if self._has_begun or self._identity is not None:
            return
        with contextlib.suppress(ConfigurationError, SQLAlchemyError):  # told when a mark is to be left
            pool = connection.engine.pool
            if pool is self._engine().pool and not _is_exhausted(pool):
                self._has_begun = True
                self.database  # noqa: B018  # asking for the name makes the table

    def recognises(self, data_manager: Any) -> bool:
        """One of zope.sqlalchemy's, of our engine. One that has ended already tells nothing, and commits nothing."""
        with contextlib.suppress(Exception):  # a session without a database raises what it likes
            if isinstance(data_manager, datamanager.SessionDataManager):
                session = data_manager.session
                return session is None or _engine_of(session.get_bind()).pool is self._engine().pool
        return False

    def mark(self, key: str, transaction: Any, data_managers: Sequence[Any]) -> WitnessMark | None:
        """Of several sessions the one that commits first has the row: where another one commits, it has as well."""
        committing = sorted((each for each in data_managers if _will_commit(each)), key=lambda each: each.sortKey())
        if not committing or self._is_in_memory():
            return None
        noted = _noted(transaction, self)
        if key in noted.marks:
            mark, data_manager = noted.marks[key]
            if any(each is data_manager for each in committing) and self._is_written(key, transaction, data_manager):
                return mark
        first = committing[0]
        if first.state == "voted":  # prepared: nothing can be written, so nobody will ever know
            return WitnessMark(kind=self.kind, database=self.database, position=_LATE, marked_at=time.time())
        connection = first.session.connection()
        now = time.time()
        mark = WitnessMark(kind=self.kind, database=self._database_within(connection, noted), marked_at=now)
        self._table.insert(connection, key, COMMITTED, now)
        mark_changed(first.session, first.transaction_manager)
        noted.marks[key] = mark, first
        return mark

    def _is_written(self, key: str, transaction: Any, data_manager: Any) -> bool:
        """Whether the row is still there; a rollback to a savepoint may have taken it away."""
        if transaction.status == _COMMITTING:
            return True
        return self._table.says(data_manager.session.connection(), [key]).get(key) == COMMITTED

    def _database_within(self, connection: Any, noted: _Noted) -> str:
        """Where there still is no table, this transaction makes it, if nobody else can.

        SQLite has one writer, which may be this transaction. If that is rolled back, so is the name in its mark, and
        what was staged with it is held.
        """
        if self._identity is not None:
            return self._identity
        found = self._table.identity(connection)
        if found is not None:
            self._identity = None if noted.made_the_table else found
            return found
        if connection.dialect.name != "sqlite" and not _is_exhausted(connection.engine.pool):
            return self.database
        with self._translated():
            found = self._table.make_ready(connection)
        noted.made_the_table = True
        return found

    def executor(self, transaction: Any, transaction_manager: Any) -> Execute | None:
        """The session that takes part already, or else one that is made for it."""
        resources = getattr(transaction, "_resources", ())
        joined = (each for each in resources if self.recognises(each) and _may_write(each))
        data_manager = next(joined, None)
        if data_manager is not None:
            session = data_manager.session
            mark_changed(session, data_manager.transaction_manager)
        else:
            session = self._factory()
            datamanager.join_transaction(session, datamanager.STATUS_CHANGED, transaction_manager)

        def execute(statement: str, parameters: Mapping[str, Any]) -> Any:
            return session.connection().execute(sqlalchemy.text(statement), parameters)

        return execute

    # ---- outside of requests -------------------------------------------------------------------------------------

    def testify(self, marks: Mapping[str, WitnessMark], timeout: float) -> Mapping[str, Testimony]:
        """What a row says; where there is none, ours takes its place."""
        told: dict[str, Testimony] = dict.fromkeys(marks, "unknown")
        if self._is_in_memory():
            return told
        deadline = time.monotonic() + timeout
        asked = [key for key, mark in marks.items() if mark.position != _LATE and mark.database == self.database]
        with self._connection(timeout) as connection:
            said = self._table.says(connection, asked)
        told |= {key: _TESTIMONIES.get(words, "unknown") for key, words in said.items()}
        for key in asked:
            if key not in said:
                told[key] = self._settle(key, marks[key], deadline)
        return told

    def _settle(self, key: str, mark: WitnessMark, deadline: float) -> Testimony:
        seconds_left = deadline - time.monotonic()
        if seconds_left <= 0:
            return "not yet"
        try:
            with self._connection(min(seconds_left, LOCK_WAIT_SECONDS)) as connection:
                self._table.insert(connection, key, SETTLED, time.time())
                # Asked after the insertion, which a row prevents until it is thrown away.
                if mark.marked_at < self._table.tidied_until(connection):
                    connection.rollback()
                    return "unknown"
                connection.commit()
            return "no"
        except IntegrityError:
            with self._connection(seconds_left) as connection:
                words = self._table.says(connection, [key]).get(key, "")
            return _TESTIMONIES.get(words, "not yet")
        except DBAPIError as error:
            if gave_up_waiting(error):
                return "not yet"
            raise

    def tidy(self) -> None:
        """Throw away rows that are older than two days."""
        if self._is_in_memory():
            return
        deadline = time.monotonic() + TIDY_SECONDS
        until = time.time() - KEEP_SECONDS
        try:
            with self._connection(LOCK_WAIT_SECONDS) as connection:
                if self._table.identity(connection) is None:
                    return
            while time.monotonic() < deadline:
                with self._connection(LOCK_WAIT_SECONDS) as connection:
                    if not self._table.throw_away(connection, until):
                        return
                    connection.commit()
        except DBAPIError as error:
            if not gave_up_waiting(error):
                raise

    # ---- the database --------------------------------------------------------------------------------------------

    def _engine(self) -> sqlalchemy.Engine:
        bind = getattr(self._factory, "kw", {}).get("bind")
        if bind is None:
            session = self._factory()
            try:
                bind = session.get_bind()
            finally:
                session.close()
        return _engine_of(bind)

    def _is_in_memory(self) -> bool:
        """Such a database ends with the process, and may have one connection, which belongs to the application."""
        engine = self._engine()
        if engine.dialect.name != "sqlite":
            return False
        url = engine.url
        if url.database in {None, "", ":memory:"} or ":memory:" in url.database or url.query.get("mode") == "memory":
            return True
        if isinstance(engine.pool, (SingletonThreadPool, StaticPool)):
            raise ConfigurationError(
                f"a witness needs connections of its own, and the engine of {url.database} gives it those of the "
                "application: leave out its poolclass"
            )
        return False

    @contextlib.contextmanager
    def _connection(self, wait_seconds: float) -> Iterator[sqlalchemy.Connection]:
        """A connection of our own, in a transaction that waits for locks only so long, and is rolled back."""
        with self._engine().connect() as connection, self._table.impatient(connection, wait_seconds):
            yield connection
            connection.rollback()

    def _make_ready(self) -> str:
        """Processes may do this at the same time: what fails then has been done by another one."""
        for attempt in (1, 2, 3):
            try:
                with self._connection(READY_WAIT_SECONDS) as connection:
                    found = self._table.identity(connection) or self._table.make_ready(connection)
                    connection.commit()
                    return found
            except DBAPIError as error:
                if attempt == 3 or gave_up_waiting(error):
                    raise
        raise AssertionError("not reached")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if gave_up_waiting(error):
                raise  # the next time will do
            raise ConfigurationError(
                f"the table {self._table.name} cannot be made ready: {type(error.orig).__name__}; when the application "
                f"may not create tables, have it made by: {self.ddl()}"
            ) from error


def _engine_of(bind: Any) -> sqlalchemy.Engine:
    engine: sqlalchemy.Engine = bind.engine  # of an engine that is itself
    return engine


def _is_exhausted(pool: Any) -> bool:
    """Whether a connection of our own might have to wait for one of the application's."""
    return isinstance(pool, QueuePool) and pool.checkedout() >= pool.size()


def _may_write(data_manager: Any) -> bool:
    session = data_manager.session
    return session is not None and datamanager._SESSION_STATE.get(session) != datamanager.STATUS_READONLY


def _will_commit(data_manager: Any) -> bool:
    """A session in which nothing has changed is rolled back, together with whatever is written in it."""
    if not _may_write(data_manager):
        return False
    session = data_manager.session
    is_changed = datamanager._SESSION_STATE.get(session) == datamanager.STATUS_CHANGED
    return is_changed or bool(session.new or session.dirty or session.deleted)


class _Noted:
    """What a witness has written in a transaction; kept as long as the transaction."""

    def __init__(self) -> None:
        self.marks: dict[str, tuple[WitnessMark, Any]] = {}  # by key, with the data manager that commits the row
        self.made_the_table = False


def _noted(transaction: Any, witness: SQLWitness) -> _Noted:
    try:
        noted: _Noted = transaction.data(witness)
    except KeyError:
        noted = _Noted()
        transaction.set_data(witness, noted)
    return noted
