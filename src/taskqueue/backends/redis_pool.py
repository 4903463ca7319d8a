"""This process's connections to Redis servers: one pool for each address, whichever queues use it. Lent, bounded,
renewed. Knows no tasks.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

from .deadlines import Deadline
from .redis_address import Address

if TYPE_CHECKING:
    from .redis_wire import Wire

# A firewall may have dropped what was silent for long, without telling either end: it is not used again.
IDLE_SECONDS = 10.0
IDLE_CONNECTIONS = 16


class Pool:
    """The connections to one server. All methods may be called from any thread; nothing is opened before ``borrow``."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Wire] = []  # those used last stand last
        self._users: weakref.WeakSet[object] = weakref.WeakSet()

    def join(self, user: object) -> None:
        """Keep what is idle, until every user has left or is forgotten."""
        with self._lock:
            self._users.add(user)

    def leave(self, user: object) -> None:
        """Close what is idle if nobody else uses it."""
        with self._lock:
            self._users.discard(user)
            is_last = not self._users
        if is_last:
            self.forget_idle()

    def borrow(self, deadline: Deadline) -> Wire:
        """A connection that works as far as can be seen. Raises RefusedError or LostError."""
        oldest = time.monotonic() - IDLE_SECONDS
        while True:
            with self._lock:
                wire = self._idle.pop() if self._idle else None
            if wire is None:
                return self.open(deadline)
            if wire.used_at >= oldest and not wire.is_stale:
                return wire
            wire.close()

    def give_back(self, wire: Wire) -> None:
        """What was borrowed is not needed any more; it may have been closed."""
        if not wire.is_open:
            return
        wire.used_at = now = time.monotonic()
        superfluous = None
        with self._lock:
            self._idle.append(wire)
            if len(self._idle) > IDLE_CONNECTIONS or self._idle[0].used_at < now - IDLE_SECONDS:
                superfluous = self._idle.pop(0)
        if superfluous is not None:
            superfluous.close()

    def open(self, deadline: Deadline) -> Wire:
        """A connection of one's own. Raises RefusedError or LostError."""
        from .redis_wire import Wire  # noqa: PLC0415  # redis-py is loaded when it is needed

        return Wire.open(self.address, deadline)

    def forget_idle(self) -> None:
        """Close what is idle; more is opened when needed."""
        with self._lock:
            idle, self._idle = self._idle, []
        for wire in idle:
            wire.close()

    def start_in_child(self) -> None:
        """In a forked child: open connections of its own."""
        for wire in self._idle:
            wire.close()  # closes this process's end only
        self._start()


_lock = threading.Lock()
_pools: weakref.WeakValueDictionary[Address, Pool] = weakref.WeakValueDictionary()


def pool_of(address: Address) -> Pool:
    """The one pool of a server, as long as somebody holds it."""
    with _lock:
        pool = _pools.get(address)
        if pool is None:
            pool = _pools[address] = Pool(address)
        return pool


def _start_in_child() -> None:
    # The locks may be held by threads that the child does not have, and the connections are the parent's.
    global _lock  # noqa: PLW0603  # the module has one
    _lock = threading.Lock()
    for pool in list(_pools.values()):
        pool.start_in_child()


os.register_at_fork(after_in_child=_start_in_child)
