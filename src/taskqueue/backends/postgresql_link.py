"""This process's connections to one PostgreSQL database: lent, bounded, thrown away after trouble, and renewed.

A call is one transaction and one round trip, connecting apart. It ends with its deadline. Whatever goes wrong becomes a
BackendUnavailableError of one line that names the database and what to do, and never a password. Knows no tasks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import BackendUnavailableError
from . import postgresql_schema
from .deadlines import Deadline
from .postgresql_address import Address
from .postgresql_faults import (
    FAREWELLS,
    NO_PRIVILEGE,
    NO_TABLE,
    TRANSIENT,
    LostError,
    RefusedError,
    ServerRefusedError,
    explain,
)
from .postgresql_statements import CREATE_QUEUE, FIND_QUEUE, Statement

if TYPE_CHECKING:
    from .postgresql_wire import Rows, Wire

DEFAULT_TIMEOUT = 5.0  # of calls that are given none
MIGRATE_TIMEOUT = 3600.0  # a large table takes long, and who migrates has time
# A firewall may have dropped what was silent for long, without telling either end: it is not used again.
IDLE_SECONDS = 30.0
IDLE_CONNECTIONS = 8
OLDEST_VERSION = 120000  # as the server tells it

Call = tuple[Statement, Mapping[str, Any]]


class Link:
    """The way to one queue in one database. All methods may be called from any thread; inert before the first call."""

    def __init__(self, address: Address, prefix: str, name: str) -> None:
        self.address = address
        self._queue = {"prefix": prefix, "name": name}
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Wire] = []

    def run(self, statement: Statement, timeout: float, *, repeat: bool = False, **parameters: Any) -> Rows:
        """Run one statement; returns its rows. ``repeat`` says that running it twice does no harm and answers the
        same: after a lost connection it is run once more."""
        return self.run_all([(statement, parameters)], timeout, repeat=repeat)[0]

    def run_all(self, calls: Sequence[Call], timeout: float, *, repeat: bool = False) -> list[Rows]:
        """Run statements in one transaction; returns the rows of each."""
        deadline = Deadline(timeout)
        while True:
            wire = self._borrow(deadline)
            try:
                answer = wire.run(calls, deadline)
            except RefusedError as error:
                # The transaction has not happened: where nobody is to blame, it may happen now.
                if error.code not in TRANSIENT and not (repeat and error.code in FAREWELLS):
                    raise self._refusal(error) from None
                if not deadline.remaining():
                    raise self._refusal(error) from None
                if error.code in FAREWELLS:
                    self.forget_idle()
                    repeat = False
            except LostError as error:
                self.forget_idle()
                if not repeat or not deadline.remaining():
                    raise self._trouble(str(error)) from None
                repeat = False
            else:
                self._give_back(wire)
                return answer

    def open(self, deadline: Deadline) -> Wire:
        """A connection of one's own."""
        from .postgresql_wire import Wire  # noqa: PLC0415  # psycopg is loaded when it is needed

        try:
            return Wire.open(self.address, deadline)
        except LostError as error:
            self.forget_idle()
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
        """Close what is idle; it opens again when needed."""
        self.forget_idle()

    def forget_idle(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for wire in idle:
            wire.close()

    def start_in_child(self) -> None:
        """In a forked child: open connections of its own. The parent's are left as they are: to close one would tell
        the server that the parent has ended."""
        _inherited.extend(self._idle)
        self._start()

    # ---- connections ----

    def _borrow(self, deadline: Deadline) -> Wire:
        oldest = time.monotonic() - IDLE_SECONDS
        while True:
            with self._lock:
                wire = self._idle.pop() if self._idle else None
            if wire is None:
                return self._open_for_queue(deadline)
            if wire.used_at >= oldest and not wire.is_stale:
                return wire
            wire.close()

    def _give_back(self, wire: Wire) -> None:
        if not wire.is_open:
            return
        wire.used_at = time.monotonic()
        with self._lock:
            if len(self._idle) < IDLE_CONNECTIONS:
                self._idle.append(wire)
                return
        wire.close()

    def _open_for_queue(self, deadline: Deadline) -> Wire:
        """A connection that knows the number of the queue; the queue is made when it is missing, and its tables."""
        wire = self.open(deadline)
        try:
            try:
                number = self._find_queue(wire, deadline)
            except RefusedError as error:
                if error.code != NO_TABLE:
                    raise
                wire.close()
                wire = self.open(deadline)
                self._migrate(wire, deadline)
                number = None
            if number is None:
                wire.run([(CREATE_QUEUE, self._queue)], deadline)
                number = self._find_queue(wire, deadline)
            wire.queue = number or 0
            return wire
        except RefusedError as error:
            wire.close()
            raise self._refusal(error) from None
        except LostError as error:
            raise self._trouble(str(error)) from None
        except BaseException:
            wire.close()
            raise

    def _find_queue(self, wire: Wire, deadline: Deadline) -> int | None:
        """The number of the queue. Raises RefusedError for a schema that this release does not know."""
        ((schema_version, number, server_version),) = wire.run([(FIND_QUEUE, self._queue)], deadline)[0]
        if server_version < OLDEST_VERSION:
            raise RefusedError("VERSION", "")
        if not str(schema_version).isdigit() or int(schema_version) < postgresql_schema.SCHEMA_VERSION:
            raise RefusedError("OLDER", "")
        if int(schema_version) > postgresql_schema.SCHEMA_VERSION:
            raise RefusedError("NEWER", "")
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
        if error.code in FAREWELLS:
            self.forget_idle()
        return ServerRefusedError(f"PostgreSQL at {self.address.where}: {explain(error.code, error.text)}", error.code)

    def _trouble(self, text: str) -> BackendUnavailableError:
        return BackendUnavailableError(f"PostgreSQL at {self.address.where}: {text}")


# Connections of a parent process: kept, since to collect them would close them.
_inherited: list[Wire] = []
