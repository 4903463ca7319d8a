"""One connection to a PostgreSQL server, and the only place where psycopg is used: it connects, and runs statements.

Each run is one transaction, sent and answered in one round trip. Every wait ends with the deadline that the caller
gives, and the server is told how long that is. Nothing is set that would outlive a transaction, and nothing is
prepared: behind a pooler the next transaction may be on another server connection. Whatever goes wrong becomes one of
two errors: the server said no, or the connection is lost and nobody knows what the server did.
"""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

import psycopg
from psycopg import pq, sql, waiting
from psycopg.adapt import PyFormat, Transformer
from psycopg.conninfo import make_conninfo

from . import postgresql_schema
from .deadlines import Deadline
from .postgresql_address import Address
from .postgresql_faults import LostError, RefusedError, explain_lost
from .postgresql_statements import BEGIN, COMMIT, SET_PATIENCE, Statement

LOOK_SECONDS = 0.1  # how often a wait for the server looks at its deadline

_EVENTS = {int(pq.PollingStatus.READING): select.POLLIN, int(pq.PollingStatus.WRITING): select.POLLOUT}

Row = tuple[Any, ...]
Rows = list[Row]
_Value = TypeVar("_Value")


class _LateError(psycopg.OperationalError):
    """The deadline has passed."""


class _Connection(psycopg.Connection[Row]):
    """psycopg's connection, whose every wait ends with a deadline."""

    deadline = Deadline(0)

    def wait(self, gen: Any, interval: float = LOOK_SECONDS, timeout: float | None = None) -> Any:
        """What psycopg calls whenever it waits for the server."""
        return waiting.wait(_until(self.deadline, gen), self.pgconn.socket, min(interval or LOOK_SECONDS, LOOK_SECONDS))


def _until(deadline: Deadline, steps: Generator[Any, Any, _Value]) -> Generator[Any, Any, _Value]:
    """The same steps, as long as there is time."""
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if not ready and not deadline.remaining():
                raise _LateError("no answer in time")
            wanted = steps.send(ready)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # StopIteration does not know of what


class Wire:
    """A connection that is used by one thread at a time. After an error it is closed."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.used_at = 0.0  # monotonic; kept by whoever lends it
        self.queue = 0  # the number of the queue in this database; found by whoever lends it

    @classmethod
    def open(cls, address: Address, deadline: Deadline) -> Wire:
        """Connect and log in. To look up a host knows no timeout, so a thread does it, which may be left behind."""
        opened: Future[Wire] = Future()

        def connect() -> None:
            try:
                opened.set_result(cls(_connect(address, deadline)))
            except Exception as error:  # noqa: BLE001  # raised below, in the thread that waits
                opened.set_exception(error)

        threading.Thread(target=connect, name="taskqueue-postgresql-connect", daemon=True).start()
        try:
            return opened.result(deadline.remaining() + LOOK_SECONDS)
        except FutureTimeoutError:
            raise LostError("it cannot be connected to in time; see host and port in url") from None
        except (psycopg.Error, OSError) as error:
            raise LostError(explain_lost(_first_line(str(error)))) from None
        finally:
            if not opened.done():  # nobody waits any more: it is closed when it comes
                opened.add_done_callback(lambda late: None if late.exception() else late.result().close())

    def run(self, statements: Sequence[tuple[Statement, Mapping[str, Any]]], deadline: Deadline) -> list[Rows]:
        """Run statements in one transaction; returns the rows of each."""
        return self._told(deadline, lambda: self._transact(statements, deadline))

    def _transact(self, statements: Sequence[tuple[Statement, Mapping[str, Any]]], deadline: Deadline) -> list[Rows]:
        milliseconds = max(2, int(deadline.remaining() * 1000))
        # The lock first: then people are told that it was a lock.
        patience = {"lock_patience": f"{milliseconds * 9 // 10}ms", "patience": f"{milliseconds}ms"}
        pgconn = self._connection.pgconn
        if pgconn.pipeline_status == pq.PipelineStatus.OFF:
            pgconn.enter_pipeline_mode()
        for statement, parameters in ((BEGIN, {}), (SET_PATIENCE, patience), *statements, (COMMIT, {})):
            self._send(statement, {"queue": self.queue, **parameters})
        pgconn.pipeline_sync()
        _, _, *answers, _ = self._receive_all(deadline)
        return [self._load(answer) for answer in answers]

    def _send(self, statement: Statement, parameters: Mapping[str, Any]) -> None:
        """Put a statement where the next flush sends it."""
        pgconn = self._connection.pgconn
        text = statement.text.encode()
        if not statement.names:
            pgconn.send_query_params(text, None, result_format=pq.Format.BINARY)
            return
        transformer = Transformer(self._connection)
        given = [parameters[name] for name in statement.names]
        dumped = transformer.dump_sequence(given, [PyFormat.AUTO] * len(given))
        pgconn.send_query_params(text, dumped, transformer.types, transformer.formats, result_format=pq.Format.BINARY)

    def _receive_all(self, deadline: Deadline) -> list[pq.abc.PGresult]:
        """The results of all that was sent. Raises RefusedError for the first one that is an error."""
        pgconn = self._connection.pgconn
        results: list[pq.abc.PGresult] = []
        while True:
            is_sending = bool(pgconn.flush())
            while is_sending or pgconn.is_busy():
                is_late = not deadline.remaining()
                events = select.POLLIN | select.POLLOUT if is_sending else select.POLLIN
                _poll([pgconn.socket], deadline.remaining(), events)
                pgconn.consume_input()
                is_sending = is_sending and bool(pgconn.flush())
                if is_late and (is_sending or pgconn.is_busy()):
                    raise _LateError("no answer in time")
            result = pgconn.get_result()
            if result is None:
                continue  # the end of one statement
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                return results
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise _refused(result)
            results.append(result)

    def _load(self, result: pq.abc.PGresult) -> Rows:
        """The rows of a result; none of a statement that tells nothing."""
        if result.status != pq.ExecStatus.TUPLES_OK:
            return []
        transformer = Transformer(self._connection)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    def version(self, deadline: Deadline) -> int | None:
        """The version of the schema, None when there is none."""
        return self._told(deadline, lambda: postgresql_schema.version(self._connection))

    def migrate(self, deadline: Deadline) -> list[int]:
        """Bring the schema up to date, or make it; returns the versions that it went through."""
        return self._told(deadline, lambda: postgresql_schema.migrate(self._connection))

    def _told(self, deadline: Deadline, act: Callable[[], _Value]) -> _Value:
        self._connection.deadline = deadline
        try:
            return act()
        except psycopg.Error as error:
            self.close()
            raise translated(error) from None
        except BaseException:
            self.close()  # it may be in a transaction that has failed, or an answer may be under way
            raise

    # ---- for whoever listens ----

    def listen(self, channel: str, deadline: Deadline) -> None:
        """Be told what is notified on a channel."""
        self._told(deadline, lambda: self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel))))

    def receive(self, seconds: float, waker: int) -> bool:
        """Wait for a notification, or for something to be read from ``waker``; tell whether a notification came."""
        self._connection.deadline = Deadline(seconds)
        try:
            pgconn = self._connection.pgconn
            if not pgconn.notifies():
                ready = _poll([pgconn.socket, waker], seconds)
                if pgconn.socket not in ready:
                    return False
                pgconn.consume_input()
                if not pgconn.notifies():
                    return False
            while pgconn.notifies():
                pass  # they all say the same
            return True
        except psycopg.Error as error:
            self.close()
            raise translated(error) from None

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return not self._connection.closed

    @property
    def is_stale(self) -> bool:
        """Whether there is something to be read although nothing was asked: the server has closed it, or will."""
        try:
            return self._connection.closed or bool(_poll([self._connection.pgconn.socket], 0.0))
        except (psycopg.Error, OSError):
            return True

    def close(self) -> None:
        """Close it, without a word to the server if it may still be working."""
        with contextlib.suppress(psycopg.Error, OSError):
            self._connection.close()


def _connect(address: Address, deadline: Deadline) -> _Connection:
    failed: psycopg.Error = psycopg.OperationalError("no host is given")
    for index, attempt in enumerate(address.attempts):
        share = Deadline(deadline.remaining() / (len(address.attempts) - index))
        try:
            return _connect_to(make_conninfo("", **attempt), share)
        except psycopg.Error as error:
            failed = error
    raise failed


def _connect_to(conninfo: str, deadline: Deadline) -> _Connection:
    pgconn = pq.PGconn.connect_start(conninfo.encode())
    try:
        while True:
            if pgconn.status == pq.ConnStatus.BAD:
                raise psycopg.OperationalError(pgconn.get_error_message())
            status = pgconn.connect_poll()
            if status == pq.PollingStatus.OK:
                break
            if status == pq.PollingStatus.FAILED:
                raise psycopg.OperationalError(pgconn.get_error_message())
            if not _poll([pgconn.socket], deadline.remaining(), _EVENTS.get(status, select.POLLIN)) or (
                not deadline.remaining()
            ):
                raise _LateError("it does not answer")
    except BaseException:
        pgconn.finish()
        raise
    pgconn.nonblocking = 1
    connection = _Connection(pgconn)
    connection._autocommit = True
    connection.prepare_threshold = None
    return connection


def _poll(descriptors: Sequence[int], seconds: float, events: int = select.POLLIN) -> set[int]:
    """Those that are ready; at least one look, also when there is no time."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, events)
    return {descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1000)}


def _refused(result: pq.abc.PGresult) -> RefusedError | LostError:
    """What a result that is an error means: of its text no more than the first line, of its details nothing."""
    code = result.error_field(pq.DiagnosticField.SQLSTATE)
    text = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message).decode("utf-8", "replace")
    if code is None:  # libpq's own: the connection is gone
        return LostError(explain_lost(_first_line(text)))
    return RefusedError(code.decode("ascii", "replace"), _first_line(text))


def translated(error: psycopg.Error) -> RefusedError | LostError:
    """What an error of psycopg means: of the server's text no more than its first line, of its details nothing."""
    if isinstance(error, _LateError):
        return LostError("it did not answer in time; see its log, and what it waits for")
    if error.sqlstate:
        return RefusedError(error.sqlstate, _first_line(error.diag.message_primary or ""))
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return LostError(explain_lost(_first_line(str(error))))
    return RefusedError("", f"{type(error).__name__}: {_first_line(str(error))}")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
