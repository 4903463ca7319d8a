"""One connection to a PostgreSQL server, and the only place where psycopg is used: it connects, and runs statements.

Each run is one transaction, sent and answered in one round trip. Every wait ends with the deadline that the caller
gives, and the server is told how long that is. Whatever goes wrong becomes one of two errors: the server said no, or
the connection is lost and nobody knows what the server did.

Behind a pooler the next transaction may be on another server connection: nothing is set there that would outlive a
transaction, and nothing is prepared. Where the server itself is at the other end, what holds for every transaction is
set once, and what runs often is planned once; a run is then no more than its statements, which the server takes as
one transaction until it is told that they are all.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import pq, sql, waiting
from psycopg.adapt import PyFormat, Transformer
from psycopg.conninfo import make_conninfo

from ..threads import BackgroundThread
from . import postgresql_schema
from .deadlines import Deadline
from .postgresql_address import Address
from .postgresql_faults import CROWDED, CrowdedError, LostError, RefusedError, code_of, explain_lost
from .postgresql_statements import BEGIN, COMMIT, SET_PATIENCE, SETTLE_IN, Statement

LOOK_SECONDS = 0.1  # how often a wait for the server looks at its deadline
# The patience that a session was told holds for calls that have a little longer: it is a part of the first one's.
TOLD_PART = 0.9
LEAST_PART = 0.7

_EVENTS = {int(pq.PollingStatus.READING): select.POLLIN, int(pq.PollingStatus.WRITING): select.POLLOUT}

Row = tuple[Any, ...]
Rows = list[Row]
Call = tuple[Statement, Mapping[str, Any]]
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


class Sent(NamedTuple):
    """A transaction whose answers are awaited."""

    counts: Sequence[int]  # of results, for each statement
    is_enclosed: bool  # in statements that nobody asked for
    patience: float  # what the session knows when it has succeeded
    prepared: Mapping[tuple[str, tuple[int, ...]], bytes]
    later: Sent | None = None  # another one, behind it


class Wire:
    """A connection that is used by one thread at a time. After an error it is closed."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.used_at = 0.0  # monotonic; kept by whoever lends it
        self.queue = 0  # the number of the queue that it works for; kept by whoever lends it
        self.queues: dict[tuple[str, str], int] = {}  # the numbers that were found over it
        self._is_direct = False
        self._patience = 0.0  # seconds, as the session knows them; 0 where nothing may be set for longer
        self._prepared: dict[tuple[str, tuple[int, ...]], bytes] = {}

    @classmethod
    def open(cls, address: Address, deadline: Deadline) -> Wire:
        """Connect and log in. To look up a host knows no timeout, so a thread does it, which may be left behind."""
        opened: Future[Wire] = Future()

        def connect() -> None:
            try:
                opened.set_result(cls(_connect(address, deadline)))
            except Exception as error:  # noqa: BLE001  # raised below, in the thread that waits
                opened.set_exception(error)

        BackgroundThread(target=connect, name="taskqueue-postgresql-connect").start()
        try:
            return opened.result(deadline.remaining() + LOOK_SECONDS)
        except FutureTimeoutError:
            raise LostError("it cannot be connected to in time; see host and port in url") from None
        except (psycopg.Error, OSError) as error:
            text = _first_line(str(error))
            raise (CrowdedError if code_of(text) == CROWDED else LostError)(explain_lost(text)) from None
        finally:
            if not opened.done():  # nobody waits any more: it is closed when it comes
                opened.add_done_callback(lambda late: None if late.exception() else late.result().close())

    def meet(self, server_pid: int) -> None:
        """Be told which process of the server answers. A pooler gives out numbers of its own on connecting."""
        self._is_direct = self._connection.pgconn.backend_pid == server_pid

    def run(self, calls: Sequence[Call], deadline: Deadline, afterwards: Sequence[Call] = ()) -> list[Rows]:
        """Run statements in one transaction; returns the rows of each. What comes ``afterwards`` is a transaction of
        its own, in the same round trip; it may fail without a word."""
        return self.finish(self.begin(calls, deadline, afterwards), deadline)

    def begin(self, calls: Sequence[Call], deadline: Deadline, afterwards: Sequence[Call] = ()) -> Sent:
        """Send what ``run`` would run; ``finish`` reads the answer."""

        def send() -> Sent:
            pgconn = self._connection.pgconn
            if pgconn.pipeline_status == pq.PipelineStatus.OFF:
                pgconn.enter_pipeline_mode()
            patience = deadline.remaining()
            sent = self._send_all(calls, patience)
            if afterwards:
                sent = sent._replace(later=self._send_all(afterwards, patience))
            pgconn.flush()  # what does not go out now goes when the answer is read
            return sent

        return self._told(deadline, send)

    def finish(self, sent: Sent, deadline: Deadline) -> list[Rows]:
        """The rows of each statement that ``begin`` has sent, but for those afterwards."""

        def receive() -> list[Rows]:
            answers = self._answers(sent, deadline)
            if sent.later is not None:
                try:
                    self._answers(sent.later, deadline)
                except (RefusedError, psycopg.Error, OSError):
                    self.close()  # what came first has happened
            return answers

        return self._told(deadline, receive)

    def has_answer(self) -> bool:
        """Whether an answer has begun to come. Never waits."""
        return self.is_stale  # as it would be if nothing had been asked

    def _send_all(self, calls: Sequence[Call], patience: float) -> Sent:
        """Put a transaction where the next flush sends it."""
        settles_in = self._is_direct and not LEAST_PART * patience <= self._patience <= patience
        told_patience = self._patience
        if self._is_direct and not settles_in:
            wanted = list(calls)
        else:
            told_patience = TOLD_PART * patience if settles_in else 0.0
            begin = (SETTLE_IN if settles_in else SET_PATIENCE, _patience_parameters(told_patience or patience))
            wanted = [(BEGIN, {}), begin, *calls, (COMMIT, {})]
        prepared: dict[tuple[str, tuple[int, ...]], bytes] = {}
        told = [self._send(statement, {"queue": self.queue, **given}, prepared) for statement, given in wanted]
        self._connection.pgconn.pipeline_sync()
        return Sent(told, len(wanted) != len(calls), told_patience, prepared)

    def _answers(self, sent: Sent, deadline: Deadline) -> list[Rows]:
        """The rows of each of the statements that were asked for; what was set with them is known from now on."""
        results = iter(self._receive_all(deadline))
        answers = [[next(results) for _ in range(count)][-1] for count in sent.counts]
        self._patience = sent.patience
        self._prepared.update(sent.prepared)
        return [self._load(answer) for answer in (answers[2:-1] if sent.is_enclosed else answers)]

    def _send(
        self,
        statement: Statement,
        parameters: Mapping[str, Any],
        prepared: dict[tuple[str, tuple[int, ...]], bytes],
    ) -> int:
        """Put a statement where the next flush sends it; tells how many results it has. ``prepared`` takes down what
        is prepared with it: it is known to be only when its transaction has succeeded."""
        pgconn = self._connection.pgconn
        text = statement.text.encode()
        transformer = Transformer(self._connection)
        given = [parameters[name] for name in statement.names]
        dumped = transformer.dump_sequence(given, [PyFormat.AUTO] * len(given))
        types, formats = transformer.types or (), transformer.formats or ()
        if not (self._patience and self._is_direct and statement.is_often):
            pgconn.send_query_params(text, dumped, types, formats, result_format=pq.Format.BINARY)
            return 1
        key = (statement.text, tuple(types))
        name = self._prepared.get(key) or prepared.get(key)
        is_new = name is None
        if name is None:
            number = len(self._prepared) + len(prepared)
            name = prepared[key] = f"taskqueue_{statement.verb}_{number}".encode()
            pgconn.send_prepare(name, text, types)
        pgconn.send_query_prepared(name, dumped, formats, result_format=pq.Format.BINARY)
        return 2 if is_new else 1

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
        self._told(deadline, lambda: self._execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel))))

    def unlisten(self, channel: str, deadline: Deadline) -> None:
        """Be told no more."""
        self._told(deadline, lambda: self._execute(sql.SQL("UNLISTEN {}").format(sql.Identifier(channel))))

    def _execute(self, command: sql.Composed) -> None:
        """By psycopg, which knows nothing of the pipeline that ``run`` has left on."""
        if self._connection.pgconn.pipeline_status != pq.PipelineStatus.OFF:
            self._connection.pgconn.exit_pipeline_mode()
        self._connection.execute(command)

    def receive(self, seconds: float, waker: int) -> set[str] | None:
        """Wait for notifications, or for something to be read from ``waker``. Returns the channels on which there were
        any, None when nothing came."""
        self._connection.deadline = Deadline(seconds)
        try:
            pgconn = self._connection.pgconn
            channels = self._notified()
            if channels:
                return channels
            ready = _poll([pgconn.socket, waker], seconds)
            if pgconn.socket in ready:
                pgconn.consume_input()
            return self._notified() if ready else None
        except psycopg.Error as error:
            self.close()
            raise translated(error) from None

    def _notified(self) -> set[str]:
        channels = set()
        while (notification := self._connection.pgconn.notifies()) is not None:
            channels.add(notification.relname.decode("ascii", "replace"))
        return channels

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


def _patience_parameters(seconds: float) -> Mapping[str, str]:
    """What the server is told. The lock first: then people are told that it was a lock."""
    milliseconds = max(2, int(seconds * 1000))
    return {"lock_patience": f"{milliseconds * 9 // 10}ms", "patience": f"{milliseconds}ms"}


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
