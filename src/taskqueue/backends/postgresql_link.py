"""The way of one queue to its PostgreSQL database, over connections that all queues of a process share.

A call is one transaction and one round trip, connecting apart. It ends with its deadline. Whatever goes wrong becomes a
BackendUnavailableError of one line that names the database and what to do, and never a password. Knows no tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import BackendUnavailableError
from . import postgresql_schema
from .deadlines import Deadline
from .pending import PendingCall
from .postgresql_address import Address
from .postgresql_faults import (
    FAREWELLS,
    NO_PRIVILEGE,
    NO_TABLE,
    TRANSIENT,
    UNPREPARED,
    CrowdedError,
    LostError,
    RefusedError,
    ServerRefusedError,
    explain,
)
from .postgresql_pool import pool_of
from .postgresql_statements import CREATE_QUEUE, FIND_QUEUE, Statement

if TYPE_CHECKING:
    from .postgresql_wire import Rows, Sent, Wire

DEFAULT_TIMEOUT = 5.0  # of calls that are given none
MIGRATE_TIMEOUT = 3600.0  # a large table takes long, and who migrates has time
OLDEST_VERSION = 120000  # as the server tells it

MADE = "MADE"  # the tables were missing, and are there now

Call = tuple[Statement, Mapping[str, Any]]


class Link:
    """The way to one queue in one database. All methods may be called from any thread; inert before the first call."""

    def __init__(self, address: Address, prefix: str, name: str) -> None:
        self.address = address
        self.pool = pool_of(address)
        self._queue = {"prefix": prefix, "name": name}
        self._key = (prefix, name)

    def run(self, statement: Statement, timeout: float, *, repeat: bool = False, **parameters: Any) -> Rows:
        """Run one statement; returns its rows. ``repeat`` says that running it twice does no harm and answers the
        same: after a lost connection it is run once more."""
        return self.run_all([(statement, parameters)], timeout, repeat=repeat)[0]

    def run_all(
        self, calls: Sequence[Call], timeout: float, *, repeat: bool = False, afterwards: Sequence[Call] = ()
    ) -> list[Rows]:
        """Run statements in one transaction; returns the rows of each. What comes ``afterwards`` is another transaction
        in the same round trip, and fails in silence."""
        return self._repeat(calls, Deadline(timeout), repeat, afterwards)

    def begin(self, calls: Sequence[Call]) -> PendingCall:
        """Send statements that run in one transaction; the rows of each are read later."""
        deadline = Deadline(DEFAULT_TIMEOUT)
        try:
            wire = self._borrow(deadline)
        except (RefusedError, LostError):  # nothing was sent; at the end it is tried once more, and told
            return PendingCall(partial(self._repeat, calls, deadline), lambda: False)
        try:
            sent = wire.begin(calls, deadline)
        except RefusedError as error:
            raise self._refusal(error) from None
        except LostError as error:
            self.pool.forget_idle()
            raise self._trouble(str(error)) from None
        finally:
            if not wire.is_open:
                self.pool.give_back(wire)
        return PendingCall(partial(self._repeat, calls, deadline, begun=(wire, sent)), wire.has_answer)

    def _repeat(
        self,
        calls: Sequence[Call],
        deadline: Deadline,
        repeat: bool = False,
        afterwards: Sequence[Call] = (),
        begun: tuple[Wire, Sent] | None = None,
    ) -> list[Rows]:
        """``begun`` is where the statements were sent already, if they were."""
        again = UNPREPARED | {MADE}
        while True:
            try:
                if begun is not None:
                    (wire, sent), begun = begun, None
                    with self._returned(wire):
                        return wire.finish(sent, deadline)
                with self._returned(self._borrow(deadline)) as wire:
                    return wire.run(calls, deadline, afterwards)
            except RefusedError as error:
                # The transaction has not happened: where nobody is to blame, it may happen now.
                is_farewell = error.code in FAREWELLS
                if is_farewell or error.code in UNPREPARED:
                    self.pool.forget_idle()
                is_harmless = error.code in TRANSIENT or error.code in again or (repeat and is_farewell)
                if not is_harmless or not deadline.remaining():
                    raise self._refusal(error) from None
                repeat = repeat and not is_farewell
                again = again - {error.code}
            except LostError as error:
                if not isinstance(error, CrowdedError):
                    self.pool.forget_idle()
                if not repeat or not deadline.remaining():
                    raise self._trouble(str(error)) from None
                repeat = False

    def open(self, deadline: Deadline) -> Wire:
        """A connection of one's own."""
        try:
            return self.pool.open(deadline)
        except LostError as error:
            raise self._trouble(str(error)) from None

    def version(self) -> int:
        """The version of the schema, 0 when there is none. Changes nothing."""
        deadline = Deadline(DEFAULT_TIMEOUT)
        with self._opened(deadline) as wire:
            return wire.version(deadline) or 0

    def migrate(self) -> list[int]:
        """Make the schema, or bring it up to date; returns the versions that it went through."""
        with self._opened(Deadline(DEFAULT_TIMEOUT)) as wire:
            return self._migrate(wire, Deadline(MIGRATE_TIMEOUT))

    @contextmanager
    def _opened(self, deadline: Deadline) -> Iterator[Wire]:
        """A connection for one purpose; its errors become those of the backend."""
        wire = self.open(deadline)
        try:
            yield wire
        except RefusedError as error:
            raise self._refusal(error) from None
        except LostError as error:
            raise self._trouble(str(error)) from None
        finally:
            wire.close()

    def close(self) -> None:
        """This queue needs no connection; the next call opens one again."""
        self.pool.leave(self)

    # ---- connections ----

    def _borrow(self, deadline: Deadline) -> Wire:
        """A connection that knows the number of the queue; the queue is made when it is missing, and its tables."""
        wire = self.pool.borrow(self, deadline)
        try:
            wire.queue = wire.queues.get(self._key) or self._enter(wire, deadline)
            wire.queues[self._key] = wire.queue
        except BaseException:
            wire.close()
            self.pool.give_back(wire)
            raise
        return wire

    @contextmanager
    def _returned(self, wire: Wire) -> Iterator[Wire]:
        """Give back what was borrowed, after the block; after an error it is closed."""
        try:
            yield wire
        except BaseException:
            wire.close()
            raise
        finally:
            self.pool.give_back(wire)

    def _enter(self, wire: Wire, deadline: Deadline) -> int:
        """The number of the queue, over a connection that works for it for the first time."""
        try:
            number = self._find_queue(wire, deadline)
        except RefusedError as error:
            if error.code != NO_TABLE:
                raise
            own = self.pool.open(deadline)
            try:
                self._migrate(own, deadline)
            finally:
                own.close()
            raise RefusedError(MADE, "") from None
        if number is None:
            wire.run([(CREATE_QUEUE, self._queue)], deadline)
            number = self._find_queue(wire, deadline)
        return number or 0

    def _find_queue(self, wire: Wire, deadline: Deadline) -> int | None:
        """The number of the queue. Raises RefusedError for a schema that this release does not know."""
        ((schema_version, number, server_version, server_pid),) = wire.run([(FIND_QUEUE, self._queue)], deadline)[0]
        if server_version < OLDEST_VERSION:
            raise RefusedError("VERSION", "")
        if not str(schema_version).isdigit() or int(schema_version) < postgresql_schema.SCHEMA_VERSION:
            raise RefusedError("OLDER", "")
        if int(schema_version) > postgresql_schema.SCHEMA_VERSION:
            raise RefusedError("NEWER", "")
        wire.meet(server_pid)
        return None if number is None else int(number)

    def _migrate(self, wire: Wire, deadline: Deadline) -> list[int]:
        if (wire.version(deadline) or 0) > postgresql_schema.SCHEMA_VERSION:
            raise RefusedError("NEWER", "")
        try:
            return wire.migrate(deadline)
        except RefusedError as error:
            if error.code == NO_PRIVILEGE:
                raise RefusedError("CREATE", "") from None
            raise

    # ---- what went wrong ----

    def _refusal(self, error: RefusedError) -> BackendUnavailableError:
        return ServerRefusedError(f"PostgreSQL at {self.address.where}: {explain(error.code, error.text)}", error.code)

    def _trouble(self, text: str) -> BackendUnavailableError:
        return BackendUnavailableError(f"PostgreSQL at {self.address.where}: {text}")
