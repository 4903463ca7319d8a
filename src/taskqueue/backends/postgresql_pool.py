"""This process's connections to one PostgreSQL database, shared by all queues that are there: lent one at a time,
bounded, thrown away when they are old, and renewed. One more listens to hints for all of them.

Pools are found by what a URL says, and are gone with the last queue that uses them. Knows no statements and no tasks.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING

from .deadlines import Deadline
from .postgresql_address import Address
from .postgresql_faults import CrowdedError, LostError
from .postgresql_hints import Crier, Listener

if TYPE_CHECKING:
    from .hints import Hints
    from .postgresql_wire import Wire

# A firewall may have dropped what was silent for long, without telling either end: it is not used again.
IDLE_SECONDS = 30.0
IDLE_CONNECTIONS = 8
LENT_CONNECTIONS = 24  # at the same time; whoever wants another waits for one of them
CROWDED_PAUSE_SECONDS = 0.05  # until a server that has as many clients as it takes is asked again


class Pool:
    """The connections to one address. All methods may be called from any thread; inert before the first one."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self.listener = Listener(self.open, self._bury)
        self.crier = Crier()
        self._start()

    def _start(self) -> None:
        self._returned = threading.Condition()
        self._idle: list[Wire] = []
        self._lent = 0
        self._users: weakref.WeakSet[object] = weakref.WeakSet()
        self._abandoned: deque[tuple[object, str, Hints]] = deque()

    def open(self, deadline: Deadline) -> Wire:
        """A connection of one's own, which is not lent. Raises LostError."""
        from .postgresql_wire import Wire  # noqa: PLC0415  # psycopg is loaded when it is needed

        return Wire.open(self._address, deadline)

    def borrow(self, user: object, deadline: Deadline) -> Wire:
        """A connection, to be given back whatever became of it. Raises LostError when there is none in time."""
        self._bury()
        with self._returned:
            self._users.add(user)
            if not self._returned.wait_for(lambda: self._lent < LENT_CONNECTIONS, deadline.remaining()):
                raise CrowdedError(f"all {LENT_CONNECTIONS} connections of this process are at work; try again")
            self._lent += 1
        try:
            return self._take_idle() or self._open(deadline)
        except BaseException:
            self._count_down()
            raise

    def _open(self, deadline: Deadline) -> Wire:
        """Connect; while the server has as many clients as it takes, wait for one of ours that comes back."""
        crowded: CrowdedError | None = None
        while True:
            try:
                return self.open(deadline)
            except CrowdedError as error:
                crowded = error
            except LostError:
                self.forget_idle()
                if crowded is None or deadline.remaining():
                    raise
            with self._returned:
                self._returned.wait_for(lambda: bool(self._idle), min(CROWDED_PAUSE_SECONDS, deadline.remaining()))
            wire = self._take_idle()
            if wire is not None:
                return wire
            if not deadline.remaining():
                raise crowded

    def _take_idle(self) -> Wire | None:
        oldest = time.monotonic() - IDLE_SECONDS
        while True:
            with self._returned:
                wire = self._idle.pop() if self._idle else None
            if wire is None or (wire.used_at >= oldest and not wire.is_stale):
                return wire
            wire.close()

    def give_back(self, wire: Wire) -> None:
        """Take back what was lent; what is closed, and what is more than need be, is gone."""
        wire.used_at = time.monotonic()
        dropped = []
        with self._returned:
            self._lent -= 1
            if wire.is_open:
                self._idle.append(wire)
            while len(self._idle) > IDLE_CONNECTIONS or (
                self._idle and (self._idle[0].used_at < wire.used_at - IDLE_SECONDS or not self._users)
            ):
                dropped.append(self._idle.pop(0))
            self._returned.notify_all()
        for each in dropped:
            each.close()

    def _count_down(self) -> None:
        with self._returned:
            self._lent -= 1
            self._returned.notify_all()

    def forget_idle(self) -> None:
        """Close what is idle: whatever ended one connection may have ended them all."""
        with self._returned:
            idle, self._idle = self._idle, []
        for wire in idle:
            wire.close()

    def leave(self, user: object) -> None:
        """The user needs no connection any more, until it borrows again; the last one leaves none behind."""
        self.crier.finish(user)
        with self._returned:
            self._users.discard(user)
            if self._users:
                return
        self.crier.stop()
        self.forget_idle()

    def abandon(self, user: object, channel: str, hints: Hints) -> None:
        """A queue was not closed, and is gone. From within a garbage collection, which may come upon a thread that
        holds any lock, or that somebody waits for who holds one: takes none, and leaves the rest to others."""
        self._abandoned.append((user, channel, hints))
        self.listener.look()

    def _bury(self) -> None:
        while self._abandoned:
            with contextlib.suppress(IndexError):  # another thread was faster
                user, channel, hints = self._abandoned.popleft()
                self.listener.stop(channel, hints)
                self.leave(user)

    def start_in_child(self) -> None:
        """In a forked child: open connections of its own. The parent's are left as they are: to close one would tell
        the server that the parent has ended."""
        _inherited.extend(self._idle)
        self._start()
        self.listener.start_in_child()
        self.crier.start_in_child()


# Connections of a parent process: kept, since to collect them would close them.
_inherited: list[Wire] = []
_pools: weakref.WeakValueDictionary[object, Pool] = weakref.WeakValueDictionary()
_finding = threading.Lock()


def pool_of(address: Address) -> Pool:
    """The pool of an address, the same for as long as somebody holds it."""
    key = tuple(tuple(sorted(attempt.items())) for attempt in address.attempts)
    with _finding:
        pool = _pools.get(key)
        if pool is None:
            pool = _pools[key] = Pool(address)
        return pool


def _start_in_child() -> None:
    global _finding  # noqa: PLW0603  # it may be held by a thread that the child does not have
    _finding = threading.Lock()
    for pool in list(_pools.values()):
        pool.start_in_child()


os.register_at_fork(after_in_child=_start_in_child)
