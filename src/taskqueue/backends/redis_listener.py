"""Listens for hints that other processes publish, and passes them on to those who wait in this one: one connection and
one thread for each server, whichever queues listen there. Where that is one queue alone, the thread connects and
checks, and the one who waits listens: a thread less to be woken by each hint. Knows no tasks.

Hints may be missed, and nothing depends on them: whoever waits polls behind them. The listener connects again for ever.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import threading
import weakref
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any

from ..threads import BackgroundThread
from .deadlines import Deadline
from .ears import LentEar
from .hints import Hints
from .redis_address import Address
from .redis_faults import LostError, RefusedError
from .redis_pool import pool_of

if TYPE_CHECKING:
    from .redis_wire import Wire

CONNECT_TIMEOUT = 5.0
# A connection that was dropped silently is noticed after these two together.
CHECK_SECONDS = 10.0
CHECK_TIMEOUT = 5.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0


class Listener:
    """One queue's ear: from the first ``start`` until ``stop``; may be started again."""

    def __init__(self, address: Address, channel: str, hints: Hints) -> None:
        self._address = address
        self._channel = channel.encode()
        self._hints = hints
        self._station: _Station | None = None

    def start(self) -> None:
        """Start listening; does nothing when it listens already."""
        if self._station is None:
            self._station = station = _station_of(self._address)
            station.order(True, self._channel, self._hints)

    def stop(self) -> None:
        """Stop listening. May come twice, or before ``start``, and from within a garbage collection: takes no lock."""
        station, self._station = self._station, None
        if station is not None:
            station.order(False, self._channel, self._hints)


class _Station:
    """One daemon thread with a connection of its own, as long as anybody listens."""

    def __init__(self, address: Address) -> None:
        self._pool = pool_of(address)
        # Whether to listen, to what, for whom. The thread alone looks at them, so that nobody else needs the lock.
        self._orders: deque[tuple[bool, bytes, Hints]] = deque()
        self._lock = threading.Lock()
        self._is_running = False
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        weakref.finalize(self, _close, self._waker, self._woken).atexit = False
        # The thread's own.
        self._listening: dict[bytes, list[Hints]] = {}
        self._asked: set[bytes] = set()  # the channels that the connection was asked for
        self._heard: set[bytes] = set()  # those that the server has confirmed
        self._pause = FIRST_PAUSE_SECONDS
        self._wire: Wire | None = None

    def order(self, wanted: bool, channel: bytes, hints: Hints) -> None:
        """Listen to a channel for somebody, or no more."""
        self._orders.append((wanted, channel, hints))
        self._wake()
        if wanted:
            with self._lock:
                self._start()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is full, and so it will be read
            self._waker.send(b"!")

    def _start(self) -> None:
        if not self._is_running:
            thread = BackgroundThread(target=self._run, name="taskqueue-redis-listener")
            with contextlib.suppress(RuntimeError):  # the interpreter is ending, and starts no more threads
                thread.start()
                self._is_running = True

    def forget(self) -> None:
        """In a forked child: close this process's end, and leave the parent's as it is."""
        if self._wire is not None:
            self._wire.close()
        _close(self._waker, self._woken)

    # ---- the thread ----

    def _run(self) -> None:
        self._pause = FIRST_PAUSE_SECONDS
        while not self._is_over():
            try:
                self._listen()
            except Exception:  # noqa: BLE001  # who works with the server tells what is wrong with it; this one comes back
                # Not all processes of a site shall come back in the same moment.
                self._rest(self._pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret depends on it
                self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _is_over(self) -> bool:
        """Whether nobody listens any more; then the thread is as good as gone."""
        with self._lock:
            self._take_orders()
            self._is_running = bool(self._listening)
            return not self._is_running

    def _take_orders(self) -> None:
        with contextlib.suppress(OSError):  # there is nothing
            self._woken.recv(4096)
        while self._orders:
            wanted, channel, hints = self._orders.popleft()
            those = self._listening.setdefault(channel, [])
            if wanted:
                those.append(hints)
                if channel in self._heard:
                    hints.give()
            elif hints in those:
                those.remove(hints)
            if not those:
                del self._listening[channel]

    def _rest(self, seconds: float) -> None:
        """Wait, but not for an ear that nobody needs any more."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        poll.poll(seconds * 1000)

    def _listen(self) -> None:
        self._wire = wire = self._pool.open(Deadline(CONNECT_TIMEOUT))
        try:
            while self._listening:
                self._tune(wire)
                if self._heard == self._asked and self._is_for_one():
                    self._lend(wire)
                else:
                    self._hear(wire)
                self._take_orders()  # whoever orders wakes afterwards: what woke us may be there without an order
        finally:
            self._asked, self._heard = set(), set()  # whoever comes now is not heard by this connection any more
            self._wire = None
            wire.close()

    def _tune(self, wire: Wire) -> None:
        """Ask for what is wanted, and for no more of what is not. One command each: one that is refused spoils none."""
        wanted = self._listening.keys()
        if wanted == self._asked:
            return
        for verb, channels in (("SUBSCRIBE", wanted - self._asked), ("UNSUBSCRIBE", self._asked - wanted)):
            for channel in channels:
                wire.send([verb, channel], Deadline(CONNECT_TIMEOUT))
        self._asked = set(wanted)
        self._heard &= wanted

    def _hear(self, wire: Wire) -> None:
        begun = Deadline(CHECK_SECONDS)
        try:
            said = wire.receive(begun, self._woken)
            if said is None and begun.remaining() <= 0:
                said = self._check(wire)
        except RefusedError as error:
            if error.code != "NOPERM":
                raise
            return  # this user may not listen to that channel; it is asked for again after the next silence
        self._pass_on(said)

    def _is_for_one(self) -> bool:
        return sum(map(len, self._listening.values())) == 1

    def _lend(self, wire: Wire) -> None:
        """Let the one who waits listen, until the connection is to be checked or something else is wanted of it."""

        def hear(seconds: float, rung: socket.socket) -> bool:
            heard = False
            said = wire.receive(Deadline(seconds), rung)
            while isinstance(said, list) and said[:1] == [b"message"]:  # those that are there are one hint
                heard = True
                said = wire.receive(Deadline(0.0))
            return heard

        (hints,) = chain.from_iterable(self._listening.values())
        ear = LentEar(hints, hear, self._wake)
        try:
            while self._listening.keys() == self._asked and self._is_for_one():
                ear.lend()
                self._rest(CHECK_SECONDS)
                ear.take_back()
                self._take_orders()
                self._pass_on(self._check(wire))
        finally:
            ear.close()

    def _check(self, wire: Wire) -> Any:
        """See that the server is still there, when nothing has come for a while. Returns what it says."""
        self._asked = set(self._heard)
        wire.send(["PING"], Deadline(CHECK_TIMEOUT))
        said = wire.receive(Deadline(CHECK_TIMEOUT))
        if said is None:
            raise LostError("it is silent")
        return said

    def _pass_on(self, said: Any) -> None:
        kind, channel = (said[0], said[1]) if isinstance(said, list) and len(said) > 1 else (b"", b"")
        if kind == b"subscribe":
            self._pause = FIRST_PAUSE_SECONDS
            self._heard.add(channel)
        if kind in {b"subscribe", b"message"}:
            # Until now nobody listened: there may have been hints before.
            for hints in self._listening.get(channel, ()):
                hints.give()


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        each.close()


_lock = threading.Lock()
_stations: weakref.WeakValueDictionary[Address, _Station] = weakref.WeakValueDictionary()


def _station_of(address: Address) -> _Station:
    """The one of a server, as long as somebody listens there."""
    with _lock:
        station = _stations.get(address)
        if station is None:
            station = _stations[address] = _Station(address)
        return station


def _start_in_child() -> None:
    # The thread is the parent's, as its connection is.
    global _lock, _stations  # noqa: PLW0603  # the module has one of each
    _lock = threading.Lock()
    left, _stations = list(_stations.values()), weakref.WeakValueDictionary()
    for station in left:
        station.forget()


os.register_at_fork(after_in_child=_start_in_child)
