"""Hints between processes, over LISTEN and NOTIFY: one thread listens, one gives them. Knows no tasks.

A NOTIFY takes a lock of the whole server while its transaction commits. So hints are given after the transaction that
they tell of, by one that changes nothing and so waits for no disk, and many at once become one. Hints may be missed, as
behind a pooler that shares connections they are; nothing depends on them: whoever waits polls behind them.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from ..errors import BackendUnavailableError
from .deadlines import Deadline
from .hints import Hints
from .postgresql_link import Link
from .postgresql_statements import HINT, PING

if TYPE_CHECKING:
    from .postgresql_wire import Wire

CONNECT_TIMEOUT = 5.0
# A connection that was dropped silently is noticed after these two together.
CHECK_SECONDS = 10.0
CHECK_TIMEOUT = 5.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0
# Between two hints of one process: one that comes alone is given at once, those that come in crowds are made one.
FIRST_HINT_PAUSE_SECONDS = 0.001
LONGEST_HINT_PAUSE_SECONDS = 0.05
HINT_TIMEOUT = 2.0
LAST_HINT_SECONDS = 0.5  # how long a process that ends waits for its last one


def channel_of(prefix: str, name: str) -> str:
    """The channel of one queue: no name of a site can be more than PostgreSQL takes, or mean something to it."""
    return "taskqueue_" + hashlib.sha256(f"{prefix}\0{name}".encode()).hexdigest()[:32]


class Crier:
    """Gives hints, from the first ``cry`` until ``stop``; may be started again."""

    def __init__(self, link: Link, channel: str, own: Collection[str]) -> None:
        self._link = link
        self._channel = channel
        self._own = own  # owners of this process, which need no hint
        self._changed = threading.Condition()
        self._is_due = False
        self._thread: threading.Thread | None = None
        self._is_stopped = False

    def cry(self) -> None:
        """Give a hint soon; does not wait."""
        with self._changed:
            self._is_due, self._is_stopped = True, False
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="taskqueue-postgresql-crier", daemon=True)
                with contextlib.suppress(RuntimeError):  # the interpreter is ending, and starts no more threads
                    thread.start()
                    self._thread = thread
            self._changed.notify_all()

    def stop(self) -> None:
        """Give what is due, and stop. May come twice, or before the first hint."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(LAST_HINT_SECONDS)

    def _run(self) -> None:
        pause = FIRST_HINT_PAUSE_SECONDS
        while True:
            with self._changed:
                pause = min(2 * pause, LONGEST_HINT_PAUSE_SECONDS) if self._is_due else FIRST_HINT_PAUSE_SECONDS
                self._changed.wait_for(lambda: self._is_due or self._is_stopped)
                if not self._is_due:
                    self._thread = None
                    return
                self._is_due = False
            with contextlib.suppress(BackendUnavailableError):  # who works with the server tells what is wrong with it
                own = sorted(self._own)
                self._link.run(HINT, HINT_TIMEOUT, repeat=True, channel=self._channel, own=own)
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped, pause)


class Listener:
    """One daemon thread with a connection of its own, from the first ``start`` until ``stop``; may be started again."""

    def __init__(self, open_wire: Callable[[Deadline], Wire], channel: str, hints: Hints) -> None:
        self._open_wire = open_wire
        self._channel = channel
        self._hints = hints
        self._lock = threading.Lock()
        self._stopper: socket.socket | None = None  # of the thread that runs: closed, it stops
        self._pause = FIRST_PAUSE_SECONDS

    def start(self) -> None:
        """Start listening; does nothing when it listens already."""
        if self._stopper is not None:
            return
        with self._lock:
            if self._stopper is None:
                stopper, stopped = socket.socketpair()
                thread = threading.Thread(
                    target=self._run, args=(stopped,), name="taskqueue-postgresql-listener", daemon=True
                )
                with contextlib.suppress(RuntimeError):  # the interpreter is ending, and starts no more threads
                    thread.start()
                    self._stopper = stopper

    def stop(self) -> None:
        """Stop listening. May come twice, or before ``start``."""
        with self._lock:
            stopper, self._stopper = self._stopper, None
        if stopper is not None:
            stopper.close()

    def _run(self, stopped: socket.socket) -> None:
        self._pause = FIRST_PAUSE_SECONDS
        with stopped:
            while not _is_closed(stopped, 0.0):
                try:
                    self._listen(stopped)
                except Exception:  # noqa: BLE001  # who works with the server tells what is wrong with it; this one comes back
                    # Not all processes of a site shall come back in the same moment.
                    _is_closed(stopped, self._pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret depends on it
                    self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _listen(self, stopped: socket.socket) -> None:
        wire = self._open_wire(Deadline(CONNECT_TIMEOUT))
        try:
            wire.listen(self._channel, Deadline(CONNECT_TIMEOUT))
            self._pause = FIRST_PAUSE_SECONDS
            self._hints.give()  # until now nobody listened: there may have been hints before
            while not _is_closed(stopped, 0.0):
                if wire.receive(CHECK_SECONDS, stopped.fileno()):
                    self._hints.give()
                elif not _is_closed(stopped, 0.0):
                    wire.run([(PING, {})], Deadline(CHECK_TIMEOUT))
        finally:
            wire.close()


def _is_closed(stopped: socket.socket, seconds: float) -> bool:
    """Whether the other end is closed; waits for it for so long."""
    stopped.settimeout(seconds)
    try:
        return stopped.recv(1) == b""
    except (BlockingIOError, TimeoutError):
        return False
